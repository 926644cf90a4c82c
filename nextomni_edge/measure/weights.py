"""Every weight of a native config, by component, and its bytes in a bundle. It needs only the
config, and no PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nextomni_edge.bundle.manifest import BLOCK_SIZES, INLINE
from nextomni_edge.config import CodebookConfig, HeadConfig, ModelConfig, TransformerConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.spec import ComponentName

Precision = Literal["float32", "float16", "int8", "int4"]
BLOCK: int = 32  # values that share a scale in INT4
# stay at INT8 in INT4 recipes
ENCODERS = (ComponentName.IMAGE_ENCODER, ComponentName.AUDIO_ENCODER)


@dataclass(frozen=True)
class Weight:
    """`kind` says what reads the weight: "matmul" (out, in); "table", whose rows are gathered;
    "conv" (out, in, …); "einsum", a matrix per sub-code (K, in, out). "other" is never
    quantised."""

    kind: Literal["matmul", "table", "conv", "einsum", "other"]
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        return math.prod(self.shape)

    def nbytes(self, precision: Precision, component: str) -> int:
        """Bytes that the weight takes. A weight that an integer recipe does not touch has the
        parent's float16.

        INT8: a float32 scale per output (a table's row, an einsum's column). INT4: blocks of 32
        along `in`, the last padded, with a float16 scale each. An einsum's scales are float32.
        Convolutions and encoders stay at INT8.
        """
        if self.values * 4 < INLINE:
            return 4 * self.values
        if precision in ("float32", "float16") or self.kind == "other":
            return (4 if precision == "float32" else 2) * self.values
        if precision == "int8" or self.kind == "conv" or component in ENCODERS:
            return self._int8()
        rows, columns = math.prod(self.shape[:-1]), self.shape[-1]
        if self.kind == "matmul":
            return rows * -(-columns // BLOCK) * (BLOCK // 2 + 2)
        block = _dividing(columns if self.kind == "table" else self.shape[1])
        if block is None:
            return self._int8()
        return -(-self.values // 2) + self.values // block * (2 if self.kind == "table" else 4)

    def _int8(self) -> int:
        scales = self.shape[0] * self.shape[2] if self.kind == "einsum" else self.shape[0]
        return self.values + 4 * scales


def _dividing(length: int) -> int | None:
    """The largest INT4 block that divides `length`: neither a gather nor an einsum can pad one."""
    return max((size for size in BLOCK_SIZES if size <= BLOCK and length % size == 0), default=None)


Weights = tuple[Weight, ...]


def component_weights(config: ModelConfig) -> dict[str, Weights]:
    """Weights by component's name. A codebook counts in each component that uses it. UsageError: a
    network that is neither native nor a masked model of text."""
    hidden, name = config.backbone.hidden_size, ComponentName
    image, audio = config.image, config.audio
    table = (config.text.vocabulary_size, hidden)
    if config.network == "unified" and config.modalities == ("text",):
        return {
            name.EMBED_TEXT: (Weight("table", table),),
            name.BACKBONE: _backbone(config),
            name.TEXT_HEAD: (Weight("matmul", table),),
        }
    if config.network != "native":
        raise UsageError(
            f"a plan is made of network 'native', found {config.network!r} of"
            f" {' and '.join(config.modalities)}: export it, and plan the bundle"
        )
    if audio.vocoder is not None:
        raise UsageError("a plan of a model with audio.vocoder: export it, and plan the bundle")
    return {
        name.EMBED_TEXT: (Weight("table", table),),
        name.EMBED_IMAGE: (
            _codebook(image.codebook),
            *_linear(hidden, image.codebook.latent_dim),
            *_linear(hidden, hidden),
        ),
        name.EMBED_AUDIO: (
            _codebook(audio.codebook),
            *_linear(hidden, audio.codebook.latent_dim),
            *_linear(hidden, hidden),
        ),
        name.BACKBONE: _backbone(config),
        name.TEXT_HEAD: (Weight("matmul", table),),
        name.IMAGE_HEAD: _head(image.head, image.codebook, hidden),
        name.AUDIO_HEAD: _head(audio.head, audio.codebook, hidden),
        name.IMAGE_ENCODER: _image_encoder(config),
        name.IMAGE_DECODER: _image_decoder(config),
        name.AUDIO_ENCODER: _audio_encoder(config),
        name.AUDIO_DECODER: _audio_decoder(config),
    }


def _linear(out: int, columns: int, bias: bool = True) -> Weights:
    return (Weight("matmul", (out, columns)), *_other(out)[: int(bias)])


def _conv(*shape: int) -> Weights:
    return (Weight("conv", shape), Weight("other", shape[:1]))


def _other(*sizes: int) -> Weights:
    """Vectors: biases, norms."""
    return tuple(Weight("other", (size,)) for size in sizes)


def _codebook(book: CodebookConfig) -> Weight:
    return Weight("other", (book.codebooks, book.entries, book.code_dim))


def _backbone(config: ModelConfig) -> Weights:
    shape = config.backbone
    hidden, mlp, cache, bias = (
        shape.hidden_size,
        shape.mlp_size,
        shape.kv_heads * shape.head_dim,
        shape.qkv_bias,
    )
    layer = (
        *_linear(hidden, hidden, bias), *_linear(cache, hidden, bias),
        *_linear(cache, hidden, bias), *_linear(hidden, hidden, False),
        *_linear(mlp, hidden, False), *_linear(mlp, hidden, False), *_linear(hidden, mlp, False),
        *_other(hidden, hidden),
    )  # fmt: skip
    return layer * shape.layers + _other(hidden)


def _blocks(width: int, layers: int, mlp_width: int | None = None) -> Weights:
    mlp = 4 * width if mlp_width is None else mlp_width
    block = (
        *_linear(3 * width, width),
        *_linear(width, width),
        *_linear(mlp, width),
        *_linear(width, mlp),
    )
    return (block + _other(*[width] * 4)) * layers + _other(width, width)


def _stack(config: TransformerConfig) -> Weights:
    return _blocks(config.width, config.layers, config.mlp_width)


def _head(head: HeadConfig, book: CodebookConfig, hidden: int) -> Weights:
    width, symbols = head.width, book.codebooks * book.entries
    if head.kind == "parallel":
        return (*_linear(width, hidden), *_other(width, width), *_linear(symbols, width))
    slots, bias = (
        Weight("other", (book.codebooks, width)),
        Weight("other", (book.codebooks, book.entries)),
    )
    matrices = (
        Weight("table", (symbols, width)),
        Weight("einsum", (book.codebooks, width, book.entries)),
    )
    return (*_linear(width, hidden), slots, bias, *matrices, *_blocks(width, head.layers))


def _image_encoder(config: ModelConfig) -> Weights:
    image, width, classes = (
        config.image,
        config.image.encoder.width,
        config.image.encoder.class_token,
    )
    extra = _other(*[width] * (classes + 2 * image.encoder.first_norm))
    places = Weight("other", (image.positions + classes, width))
    patch, latent = (
        _conv(width, 3, image.patch, image.patch),
        _linear(image.codebook.latent_dim, width),
    )
    return (_codebook(image.codebook), *patch, places, *extra, *_stack(image.encoder), *latent)


def _image_decoder(config: ModelConfig) -> Weights:
    image, width = config.image, config.image.decoder.width
    ends = (*_linear(width, image.codebook.latent_dim), *_linear(image.patch**2 * 32, width))
    enlarged = _conv(32 * image.finer**2, 32, 3, 3) if image.finer > 1 else ()
    places, refine = (
        Weight("other", (image.positions, width)),
        (*_conv(32, 32, 3, 3), *enlarged, *_conv(3, 32, 3, 3)),
    )
    return (_codebook(image.codebook), *ends, places, *refine, *_stack(image.decoder))


def _audio_encoder(config: ModelConfig) -> Weights:
    audio, width = config.audio, config.audio.encoder.width
    latent = _linear(audio.codebook.latent_dim, width * (audio.frames_per_token // 2))
    return (
        _codebook(audio.codebook),
        *_conv(width, audio.mels, 3),
        *_conv(width, width, 3),
        *_stack(audio.encoder),
        *latent,
    )


def _audio_decoder(config: ModelConfig) -> Weights:
    audio, width = config.audio, config.audio.decoder.width
    ends = (
        *_linear(width, audio.codebook.latent_dim),
        *_linear(audio.frames_per_token * 128, width),
    )
    vocoder = Weight("other", (audio.n_fft // 2 + 1, audio.mels))
    refine = (*_conv(128, 128, 5), *_conv(audio.mels, 128, 5))
    return (_codebook(audio.codebook), *ends, *refine, vocoder, *_stack(audio.decoder))
