"""The model's configuration: every size and constant of a model, as frozen dataclasses that are
read strictly from JSON."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from nextomni_edge.decoding import OPTIONAL, CommitConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.spec import Modality

MAX_CONFIG: Final = 2**20
# The largest size that any model needs, and more: what a config says is allocated.
MOST: Final[Mapping[str, int]] = {
    "layers": 2**10, "query_heads": 2**12, "kv_heads": 2**12, "heads": 2**12,
    "hidden_size": 2**17, "mlp_size": 2**20, "width": 2**17, "channels": 2**14,
    "residual_blocks": 2**8, "max_positions": 2**22, "vocabulary_size": 2**22, "metric_dim": 2**16,
    "block_size": 2**16, "max_blocks": 2**16, "canvas": 2**20, "codebooks": 2**8, "entries": 2**20,
    "code_dim": 2**14, "size": 2**13, "patch": 2**12, "max_frames": 2**12, "sample_rate": 2**20,
    "n_fft": 2**16, "hop": 2**16, "mels": 2**12, "frames_per_token": 2**12, "steps": 2**16,
}  # fmt: skip
# bytes of the largest array that a config asks for, whatever is generated
MAX_ARRAY: Final = 2**30
# where neither "1 to 2³⁰" nor "a positive number" is the answer
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "logit_shift": (0, 1),
    **{name: (1, most) for name, most in MOST.items()},
    "c": (1e-30, 1e6),
    "a": (1e-30, 50),  # (t/(1−t))^a stays a number at every t of a grid
    "vocoder_iterations": (0, 10_000),
    "max_seconds": (0.001, 86_400),
    "temperature": (0, 1e6),
    "draw_temperature": (0, 1e6),
    "guidance": (0, 1e6),
    "null_token": (0, 2**30),
    "offset": (0, 2**30),
    "mask": (0, 2**30),
    "block": (0, 2**30),
    "top_k": (0, 2**30),
    "top_p": (1e-9, 1),
    "threshold": (0, 1),
}
Template = Literal["chatml", "deepseek", "llada", "mmada", "lumina", "dream"]
Fitting = Literal["white", "janus", "crop", "buckets"]

MODALITIES_OF: Final[Mapping[str, tuple[tuple[Modality, ...], ...]]] = {
    "native": (("text", "image", "audio"),),
    "fudoki": (("text", "image"),),
    "unified": (("text",), ("text", "image")),
}


@dataclass(frozen=True)
class BackboneConfig:
    """A Qwen2-type transformer without the causal mask (METHOD 2). Defaults are Qwen2.5-7B's.

    `attention` "prefix": the prompt sees nothing of the response, in training and in use, so that
    its keys and values hold for a whole run. "causal" keeps the mask. Such a model is an
    autoregressive model of text, the baseline of the flow.
    """

    hidden_size: int = 3584
    layers: int = 28
    query_heads: int = 28
    kv_heads: int = 4
    mlp_size: int = 18944
    rms_norm_eps: float = 1e-6
    rope_base: float = 1e6
    qkv_bias: bool = True
    max_positions: int = 16384
    attention: Literal["full", "prefix", "causal"] = field(default="full", metadata=OPTIONAL)

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.query_heads


@dataclass(frozen=True)
class TextConfig:
    """The text vocabulary. The tokenizer's own file names the special tokens (see tokens/text.py).

    `canvas`: the positions of a whole sequence; a text response fills what the prompt leaves of
    them. None: whole blocks. `null_token`: the id of a dropped condition where the tokenizer names
    none.
    """

    vocabulary_size: int = 152064
    block_size: int = 64
    max_blocks: int = 16
    tied_head: bool = False
    metric_dim: int = 64
    template: Template = field(default="chatml", metadata=OPTIONAL)
    system_prompt: str = field(default="", metadata=OPTIONAL)
    canvas: int | None = field(default=None, metadata=OPTIONAL)
    null_token: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class HeadConfig:
    """A head over sub-codes: `parallel` sub-heads, or `autoregressive` over a position's sub-codes
    (METHOD 2)."""

    kind: Literal["parallel", "autoregressive"] = "autoregressive"
    width: int = 1024
    layers: int = 2
    heads: int = 8


@dataclass(frozen=True)
class CodebookConfig:
    """Multi-codebook quantisation (UniTok, arXiv 2502.20321): `codebooks` K tables of `entries` C
    vectors of `code_dim`."""

    codebooks: int = 4
    entries: int = 4096
    code_dim: int = 16

    @property
    def latent_dim(self) -> int:
        return self.codebooks * self.code_dim


@dataclass(frozen=True)
class TransformerConfig:
    """A plain pre-norm transformer inside encoders and decoders (CLIP's, SigLIP's and Whisper's
    block).

    CLIP's has a `class_token` before the patches and a `first_norm` before the blocks; nothing is
    read from the class token's row. `mlp_width` None is four times the width.
    """

    width: int = 1024
    layers: int = 24
    heads: int = 16
    norm_eps: float = field(default=1e-5, metadata=OPTIONAL)
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] = field(
        default="gelu", metadata=OPTIONAL
    )
    class_token: bool = field(default=False, metadata=OPTIONAL)
    first_norm: bool = field(default=False, metadata=OPTIONAL)
    mlp_width: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class VqConfig:
    """The convolutional encoder or decoder of a VQ-GAN (LlamaGen's VQ-16, arXiv 2406.06525):
    channels of level i are channels·multipliers[i], the resolution doubles from each level to the
    one before it.

    Of network "unified" only: `blocks` of each level in place of residual_blocks, `groups` of
    GroupNorm, `attends` in the middle, `lookup` of a code (by the signs of its latent, MAGVIT-v2's
    LFQ, arXiv 2310.05737; or the nearest row of a codebook), `pixels` as the network sees them.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    residual_blocks: int = 2
    latent_channels: int = 256
    blocks: tuple[int, ...] = field(default=(), metadata=OPTIONAL)
    groups: int = field(default=32, metadata=OPTIONAL)
    attends: bool = field(default=True, metadata=OPTIONAL)
    lookup: Literal["cosine", "sign", "nearest"] = field(default="cosine", metadata=OPTIONAL)
    pixels: Literal["signed", "unit"] = field(default="signed", metadata=OPTIONAL)

    def fits(self, image: ImageConfig) -> bool:
        """Whether the levels bring a grid of patches back to pixels, and GroupNorm's groups are
        whole."""
        whole = all(
            1 <= multiplier < 2**20 and self.channels * multiplier % self.groups == 0
            for multiplier in self.multipliers
        ) and (not self.blocks or len(self.blocks) == len(self.multipliers))
        return (
            whole
            and 0 < len(self.multipliers) <= 20
            and 2 ** (len(self.multipliers) - 1) == image.patch
        )


@dataclass(frozen=True)
class ImageConfig:
    """Square images of `size` pixels in patches of `patch`; (size/patch)² tokens. Video is up to
    `max_frames` of them.

    Network "unified" takes other sizes too. `offset` is the id of code 0 in the vocabulary that it
    shares with text. `truncated`: pixels become bytes by cutting, not by rounding.

    `given`: the backbone's form of a given image: its codes, or continuous features of the encoder.
    `fitting`: how a picture comes into the square (see media/image.py). `vq` replaces `decoder`
    where it is set. `vq_encoder` turns pixels into the codes that it reads.
    """

    size: int = 256
    patch: int = 16
    max_frames: int = 8
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    encoder: TransformerConfig = field(default_factory=TransformerConfig)
    decoder: TransformerConfig = field(default_factory=TransformerConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    given: Literal["codes", "features"] = field(default="codes", metadata=OPTIONAL)
    fitting: Fitting = field(default="white", metadata=OPTIONAL)
    vq: VqConfig | None = field(default=None, metadata=OPTIONAL)
    vq_encoder: VqConfig | None = field(default=None, metadata=OPTIONAL)
    offset: int | None = field(default=None, metadata=OPTIONAL)
    truncated: bool = field(default=False, metadata=OPTIONAL)

    @property
    def grid(self) -> int:
        return self.size // self.patch

    @property
    def positions(self) -> int:
        return self.grid**2


@dataclass(frozen=True)
class AudioConfig:
    """Mono audio as Whisper's log-mel (n_fft, hop, mels); `frames_per_token` hops make one token of
    K sub-codes."""

    sample_rate: int = 16000
    n_fft: int = 400
    hop: int = 160
    mels: int = 80
    frames_per_token: int = 8
    max_seconds: float = 15.0
    codebook: CodebookConfig = field(
        default_factory=lambda: CodebookConfig(codebooks=2, entries=2048)
    )
    encoder: TransformerConfig = field(default_factory=TransformerConfig)
    decoder: TransformerConfig = field(default_factory=TransformerConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    vocoder_iterations: int = 32

    @property
    def max_positions(self) -> int:
        """Tokens of the longest clip."""
        return math.ceil(self.max_seconds * self.sample_rate / (self.hop * self.frames_per_token))


@dataclass(frozen=True)
class PathConfig:
    """The path of one modality and its published sampling defaults (METHOD 3 and 9).

    `kind` is a name of `flow.path.PATHS`. `c` and `a` belong to the metric path: beta_t =
    c·(t/(1−t))^a. The mixture path has a `source`, κ_t of the form `kappa` with its `shift`, and
    `commit`. The source is uniform, or the id `mask` (None: the id after the symbols). `commit`
    says how rows are written where the model is decoded that way.

    Of training with a mask source: `rate`: whether a sample or every position draws its own time.
    `weighted`: whether a masked row's loss is weighted by κ'_t / (1 − κ_t), for κ_t = t LLaDA's
    1/t with time counted down; otherwise all masked rows count alike.
    """

    kind: str = field(default="metric", metadata=OPTIONAL, kw_only=True)
    source: Literal["mask", "uniform"] = field(default="mask", metadata=OPTIONAL, kw_only=True)
    mask: int | None = field(default=None, metadata=OPTIONAL, kw_only=True)
    kappa: Literal["linear", "cosine", "shifted"] = field(
        default="linear", metadata=OPTIONAL, kw_only=True
    )
    shift: float = field(default=1.0, metadata=OPTIONAL, kw_only=True)
    commit: CommitConfig | None = field(default=None, metadata=OPTIONAL, kw_only=True)
    rate: Literal["sample", "position"] = field(default="sample", metadata=OPTIONAL, kw_only=True)
    weighted: bool = field(default=True, metadata=OPTIONAL, kw_only=True)
    c: float = 3.0
    a: float = 0.9
    steps: int = 32
    temperature: float = 1.0
    guidance: float = 0.0

    @property
    def masked(self) -> bool:
        """Whether x_0 is a mask everywhere."""
        return self.kind == "mixture" and self.source == "mask"


@dataclass(frozen=True)
class FlowConfig:
    """One path per modality; a temperature of 0 means that x_1 is the argmax."""

    text: PathConfig = field(default_factory=lambda: PathConfig(temperature=0.0))
    image: PathConfig = field(default_factory=PathConfig)
    audio: PathConfig = field(default_factory=PathConfig)

    def of(self, modality: str) -> PathConfig:
        """The path of a modality; a video's frames are images."""
        return {"text": self.text, "image": self.image, "video": self.image, "audio": self.audio}[
            modality
        ]


@dataclass(frozen=True)
class CodedConfig:
    """A coded modality that has no config of its own here (see modalities/): `positions` tokens of
    K sub-codes at most."""

    name: str
    positions: int
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    path: PathConfig = field(default_factory=PathConfig)


@dataclass(frozen=True)
class ModelConfig:
    """The whole model. Network "unified" has one vocabulary for text and image codes, in one table
    and one head. `logit_shift` 1: position i is predicted from the hidden state of i−1 (METHOD 2).

    `network` names the modules (see models/networks.py). Sections of modalities that are not among
    `modalities` mean nothing, and JSON leaves them out.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    text: TextConfig = field(default_factory=TextConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    logit_shift: Literal[0, 1] = 0
    network: Literal["native", "fudoki", "unified"] = field(default="native", metadata=OPTIONAL)
    modalities: tuple[Modality, ...] = field(default=("text", "image", "audio"), metadata=OPTIONAL)
    more: tuple[CodedConfig, ...] = field(default=(), metadata=OPTIONAL)

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together, each in one sentence."""
        backbone, image, audio = self.backbone, self.image, self.audio
        _check_numbers(self, "")
        checks = [
            (
                backbone.hidden_size % backbone.query_heads == 0,
                "backbone.hidden_size must be a multiple of query_heads",
            ),
            (
                backbone.head_dim % 2 == 0,
                "backbone head size (hidden_size / query_heads) must be even for RoPE",
            ),
            (
                backbone.query_heads % backbone.kv_heads == 0,
                "backbone.query_heads must be a multiple of kv_heads",
            ),
            (image.size % image.patch == 0, "image.size must be a multiple of image.patch"),
            (
                audio.frames_per_token % 2 == 0,
                "audio.frames_per_token must be even (the encoder halves the frame rate)",
            ),
            (
                not self.causal or self.logit_shift == 1,
                "logit_shift must be 1 with backbone.attention causal: a row sees itself",
            ),
            *self._head_checks(),
            *self._network_checks(),
            *self._budget_checks(),
        ]
        for holds, sentence in checks:
            if not holds:
                raise InputError(f"model config: {sentence}")

    def _head_checks(self) -> list[tuple[bool, str]]:
        """Every width is a whole number of heads."""
        stacks: dict[str, TransformerConfig | HeadConfig] = {"image.encoder": self.image.encoder}
        if self.network == "native":
            stacks |= {
                "image.decoder": self.image.decoder,
                "audio.encoder": self.audio.encoder,
                "audio.decoder": self.audio.decoder,
            }
            heads = {"image.head": self.image.head, "audio.head": self.audio.head}
            stacks |= {name: head for name, head in heads.items() if head.kind != "parallel"}
        return [
            (
                stack.width % stack.heads == 0,
                f"{name}.width, {stack.width}, must be a multiple of its heads, {stack.heads}",
            )
            for name, stack in stacks.items()
        ]

    def _budget_checks(self) -> list[tuple[bool, str]]:
        """What each size is fine for, and what they ask for together."""
        backbone, text, image, audio = self.backbone, self.text, self.image, self.audio
        width, samples = 4 * backbone.hidden_size, math.ceil(audio.max_seconds * audio.sample_rate)
        arrays = {
            "text.block_size × backbone.hidden_size": text.block_size * width,
            "text.canvas × backbone.hidden_size": (text.canvas or 0) * width,
            "text.vocabulary_size × text.metric_dim": 4 * text.vocabulary_size * text.metric_dim,
            "image.size² × image.max_frames": 12 * image.size**2 * image.max_frames,
            "image's positions × image.max_frames × backbone.hidden_size": image.positions
            * image.max_frames
            * width,
            "audio.n_fft × audio.mels": 8 * audio.n_fft * audio.mels,
            "audio.max_seconds × audio.sample_rate": 4 * samples,
            "audio.max_seconds × mel frames × audio.mels": 4 * samples // audio.hop * audio.mels,
            "audio.max_seconds × spectra of audio.n_fft": 4 * samples // audio.hop * audio.n_fft,
            **{
                f"{name}.codebook's tables": 4 * book.codebooks * book.entries * book.code_dim
                for name, book in (("image", image.codebook), ("audio", audio.codebook))
            },
        }
        return [
            (size <= MAX_ARRAY, f"{name} asks for {size} bytes, expected at most {MAX_ARRAY}")
            for name, size in arrays.items()
        ]

    def _network_checks(self) -> list[tuple[bool, str]]:
        """What each network consists of, and the bounds of its text."""
        text, image, limit = self.text, self.image, self.backbone.max_positions
        null, network = text.null_token, self.network
        levels = "must have log2 of image.patch and one levels, widths of whole groups of"
        allowed, more = MODALITIES_OF[network], tuple(coded.name for coded in self.more)
        return [
            (
                self.modalities in [(*names, *more) for names in allowed],
                (
                    f"modalities of network {network} must be"
                    f" {' or '.join(', '.join(names) for names in allowed)}"
                ),
            ),
            *(self._unified_checks() if network == "unified" else self._separate_checks()),
            (
                network == "native"
                or "image" not in self.modalities
                or image.codebook.codebooks == 1,
                f"image.codebook.codebooks of network {network} must be 1",
            ),
            *(
                (part is None or part.fits(image), f"{name} {levels} {part and part.groups}")
                for name, part in (("image.vq", image.vq), ("image.vq_encoder", image.vq_encoder))
            ),
            (
                image.vq_encoder is None or image.vq is not None,
                "image.vq_encoder needs an image.vq",
            ),
            (
                text.canvas is None or text.canvas <= limit,
                f"text.canvas must be at most backbone.max_positions, {limit}",
            ),
            (
                null is None or null < text.vocabulary_size,
                "text.null_token must be under text.vocabulary_size",
            ),
        ]

    def _separate_checks(self) -> list[tuple[bool, str]]:
        """Of networks whose images have a vocabulary of their own."""
        image, native = self.image, self.network == "native"
        given = "codes and no" if native else "features and an"
        parts = (
            image.vq is None and image.given == "codes"
            if native
            else image.vq is not None and image.given == "features"
        )
        coded = [name for name in self.modalities if self.path(name).masked and name != "text"]
        text = self.flow.text
        return [
            (parts, f"network {self.network} must have image.given {given} image.vq"),
            (not coded, f"flow.{''.join(coded[:1])}.source must be uniform: no code is a mask"),
            (
                not text.masked
                or (text.mask is not None and text.mask < self.text.vocabulary_size),
                "flow.text.mask must be an id under text.vocabulary_size",
            ),
        ]

    def _unified_checks(self) -> list[tuple[bool, str]]:
        """Of a network with one vocabulary for text and images."""
        image, size = self.image, self.text.vocabulary_size
        mask = self.flow.text.mask
        checks = [
            (path.kind == "mixture", "flow of network unified must be of kind mixture")
            for path in (self.flow.text, *((self.flow.image,) * ("image" in self.modalities)))
        ]
        checks.append(
            (
                mask is not None and mask < size,
                f"flow.text.mask must be an id under text.vocabulary_size, {size}",
            )
        )
        if "image" in self.modalities:
            end = None if image.offset is None else image.offset + image.codebook.entries
            checks += [
                (
                    image.head.kind == "parallel",
                    "network unified must have image.head.kind parallel",
                ),
                (
                    image.given == "codes" and None not in (image.vq, image.vq_encoder),
                    "network unified must have image.given codes, an image.vq and image.vq_encoder",
                ),
                (
                    end is not None and end <= size,
                    f"image.offset and its codes must lie within text.vocabulary_size, {size}",
                ),
            ]
        return checks

    def to_json(self) -> dict[str, Any]:
        data = _to_json(self)
        for modality in {"text", "image", "audio"} - set(self.modalities):
            del data[modality], data["flow"][modality]
        if self.image.vq and "image" in self.modalities:
            del data["image"]["decoder"]
        if self.network == "unified" and "image" in self.modalities:
            del data["image"]["encoder"]
        return data

    def coded(self, modality: str) -> ImageConfig | AudioConfig | CodedConfig:
        """The config of a modality whose tokens are sub-codes. KeyError for any other."""
        named: dict[str, ImageConfig | AudioConfig | CodedConfig] = {
            "image": self.image, "audio": self.audio, **{coded.name: coded for coded in self.more}
        }  # fmt: skip
        return named[modality]

    def path(self, modality: str) -> PathConfig:
        """The path of a modality's tokens."""
        own = {coded.name: coded.path for coded in self.more}
        return own[modality] if modality in own else self.flow.of(modality)

    @property
    def causal(self) -> bool:
        """Whether it is an autoregressive model of text. generate/autoregressive.py decodes such a
        model, and no flow samples from it."""
        return self.backbone.attention == "causal"

    @property
    def metric_modalities(self) -> tuple[Modality, ...]:
        """Those whose path is defined by a metric table."""
        return tuple(name for name in self.modalities if self.path(name).kind == "metric")

    @property
    def quantises(self) -> bool:
        """Whether codes of a picture come from a component of their own, as the backbone sees
        features of it."""
        return self.image.given == "features" and self.image.vq_encoder is not None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        return read_dataclass(cls, data, "config")

    @classmethod
    def load(cls, path: Path) -> ModelConfig:
        """Read a config file; InputError names the file and what is wrong with it."""
        return cls.from_json(read_json(path, MAX_CONFIG))


def _to_json(part: Any) -> dict[str, Any]:
    values = {
        f.name: getattr(part, f.name)
        for f in dataclasses.fields(part)
        if not f.metadata.get("optional") or getattr(part, f.name) != f.default
    }
    return {name: _value_to_json(value) for name, value in values.items()}


def _value_to_json(value: Any) -> Any:
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return [_to_json(part) for part in value]
    return _to_json(value) if dataclasses.is_dataclass(value) else value


def _check_numbers(part: Any, prefix: str) -> None:
    """Check that every size is at least 1 and small enough for products of sizes, and that every
    constant is in its meaningful range."""
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                if dataclasses.is_dataclass(item):
                    _check_numbers(item, f"{prefix}{f.name}[{index}].")
        elif dataclasses.is_dataclass(value):
            _check_numbers(value, f"{prefix}{f.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = RANGES.get(f.name, (1, 2**30) if isinstance(value, int) else (1e-30, 1e30))
            if not low <= value <= high:
                raise InputError(
                    f"model config: {prefix}{f.name} is {value}, expected {low} to {high}"
                )


def _nextomni_7b() -> ModelConfig:
    """NExT-OMNI's own shape (METHOD 1 and 2): Qwen2.5-7B, CLIP-ViT-Large and Whisper-turbo's
    encoder, with heads of 125 M parameters together.

    Unpublished sizes are chosen. Pictures have 384² pixels in patches of 16 (576 positions; CLIP's
    own patches have 14). The image decoder has 12 layers of width 1,024, the sound decoder 12
    layers of width 768, and codebook vectors have 16 values.
    """
    head = HeadConfig("autoregressive", width=1024, layers=3, heads=8)
    clip = TransformerConfig(
        1024, layers=24, heads=16, activation="quick_gelu", class_token=True, first_norm=True
    )
    whisper = TransformerConfig(1280, layers=32, heads=20)
    return ModelConfig(
        backbone=BackboneConfig(),
        image=ImageConfig(
            384,
            16,
            8,
            CodebookConfig(4, 4096),
            clip,
            TransformerConfig(1024, layers=12, heads=16),
            head,
        ),
        audio=AudioConfig(
            mels=128,
            codebook=CodebookConfig(2, 2048),
            encoder=whisper,
            decoder=TransformerConfig(768, 12, 12),
            head=head,
        ),
        logit_shift=1,
    )


NAMED: Final = {"nextomni-7b": _nextomni_7b()}


def named_config(name: str) -> ModelConfig:
    """The config of a published shape. UsageError: unknown (the nearest name is offered)."""
    if name not in NAMED:
        near = difflib.get_close_matches(name, NAMED, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(NAMED)}"
        raise UsageError(f"config {name!r}: {hint}")
    return NAMED[name]
