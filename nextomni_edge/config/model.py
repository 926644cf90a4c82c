"""The whole configuration of a model, read strictly from JSON, and what must fit together in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from nextomni_edge.config.codec import codec_checks
from nextomni_edge.config.ranges import MAX_ARRAY, check_numbers
from nextomni_edge.config.sections import (
    AudioConfig,
    BackboneConfig,
    CodedConfig,
    FlowConfig,
    HeadConfig,
    ImageConfig,
    PathConfig,
    TextConfig,
    TransformerConfig,
)
from nextomni_edge.config.speech import own_vocoder_checks, speech_checks
from nextomni_edge.decoding import OPTIONAL
from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.spec import Modality

MAX_CONFIG: Final = 2**20

MODALITIES_OF: Final[Mapping[str, tuple[tuple[Modality, ...], ...]]] = {
    "native": (("text", "image", "audio"),),
    "fudoki": (("text", "image"),),
    "unified": (("text",), ("text", "image")),
    "omnidiffusion": (("text", "image", "audio"),),
    "omnivoice": (("text", "audio"),),
}


@dataclass(frozen=True)
class ModelConfig:
    """The whole model. Networks "unified" and "omnidiffusion" have one vocabulary for text and
    codes, in one table and one head; an answer of the latter may mix them. "omnivoice" reads text
    and sounds, and answers in sound. `logit_shift` 1:
    position i is predicted from the hidden state of i−1 (METHOD 2). `heard`: the paths' settings
    where the prompt holds a sound.

    `network` names the modules (see models/networks.py). Sections of modalities that are not among
    `modalities` mean nothing, and JSON leaves them out.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    text: TextConfig = field(default_factory=TextConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    logit_shift: Literal[0, 1] = 0
    network: Literal["native", "fudoki", "unified", "omnidiffusion", "omnivoice"] = field(
        default="native", metadata=OPTIONAL
    )
    modalities: tuple[Modality, ...] = field(default=("text", "image", "audio"), metadata=OPTIONAL)
    more: tuple[CodedConfig, ...] = field(default=(), metadata=OPTIONAL)
    heard: FlowConfig | None = field(default=None, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together, each in one sentence."""
        backbone, image, audio = self.backbone, self.image, self.audio
        check_numbers(self, "")
        checks = [
            (
                backbone.head_size is not None or backbone.hidden_size % backbone.query_heads == 0,
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
                image.side % image.patch == 0,
                "image.drawn must be a multiple of image.patch",
            ),
            (
                audio.codec is not None or audio.frames_per_token % 2 == 0,
                "audio.frames_per_token must be even (the encoder halves the frame rate)",
            ),
            (
                not self.causal or self.logit_shift == 1,
                "logit_shift must be 1 with backbone.attention causal: a row sees itself",
            ),
            *own_vocoder_checks(audio.vocoder, self.network, audio.hop, audio.sample_rate),
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
            "image.drawn² × image.max_frames": 12 * image.side**2 * image.max_frames,
            # the weights that make the finer pixels of each (models/vision.py)
            "(image.drawn / image.size)² of 36,864 bytes": 36_864 * image.finer**2,
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
            *self._form_checks(),
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

    def _form_checks(self) -> list[tuple[bool, str]]:
        """Of the network's kind of vocabulary."""
        if self.speaks_only:
            return self._spoken_checks()
        return self._shared_checks() if self.shares_vocabulary else self._separate_checks()

    def _spoken_checks(self) -> list[tuple[bool, str]]:
        """Of a network that answers in sound only, by a codec."""
        audio, path, codec = self.audio, self.flow.audio, self.audio.codec
        token = audio.hop * audio.frames_per_token
        return [
            (codec is not None, f"network {self.network} must have audio.codec"),
            *(codec_checks(codec, token, audio.sample_rate) if codec else []),
            (
                codec is None or audio.codebook.entries == codec.entries + 1,
                "audio.codebook.entries must be one more than audio.codec.entries, for the mask",
            ),
            (
                path.kind == "mixture" and path.masked and path.commit is not None,
                "flow.audio must be of kind mixture, with a mask and a commit",
            ),
            (
                path.mask == audio.codebook.entries - 1,
                "flow.audio.mask must be the last of audio.codebook.entries",
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
            (
                image.drawn is None or (native and image.drawn % image.size == 0),
                "image.drawn must be a multiple of image.size, of network native",
            ),
            (not coded, f"flow.{''.join(coded[:1])}.source must be uniform: no code is a mask"),
            (
                not text.masked
                or (text.mask is not None and text.mask < self.text.vocabulary_size),
                "flow.text.mask must be an id under text.vocabulary_size",
            ),
        ]

    def _shared_checks(self) -> list[tuple[bool, str]]:
        """Of a network with one vocabulary for text and codes."""
        image, size, network = self.image, self.text.vocabulary_size, self.network
        mask = self.flow.text.mask
        checks = [
            (
                self.path(name).kind == "mixture",
                f"flow of network {network} must be of kind mixture",
            )
            for name in self.modalities
        ]
        checks.append(
            (
                mask is not None and mask < size,
                f"flow.text.mask must be an id under text.vocabulary_size, {size}",
            )
        )
        checks += self._mixed_checks() if self.mixes else []
        if "image" in self.modalities:
            end = None if image.offset is None else image.offset + image.codebook.entries
            checks += [
                (
                    image.head.kind == "parallel",
                    f"network {network} must have image.head.kind parallel",
                ),
                (
                    image.given == "codes" and None not in (image.vq, image.vq_encoder),
                    (
                        f"network {network} must have image.given codes, an image.vq and"
                        " image.vq_encoder"
                    ),
                ),
                (
                    end is not None and end <= size,
                    f"image.offset and its codes must lie within text.vocabulary_size, {size}",
                ),
            ]
        return checks

    def _mixed_checks(self) -> list[tuple[bool, str]]:
        """Of a network whose answers mix modalities."""
        audio, size = self.audio, self.text.vocabulary_size
        return [
            (
                len({self.path(name).mask for name in self.modalities}) == 1,
                f"flow of network {self.network} must have one mask",
            ),
            (
                audio.offset is not None and audio.offset + audio.codebook.entries <= size,
                f"audio.offset and its codes must lie within text.vocabulary_size, {size}",
            ),
            (
                audio.codebook.codebooks == 1,
                f"audio.codebook.codebooks of network {self.network} must be 1",
            ),
            (audio.speech is not None, f"network {self.network} must have audio.speech"),
            *(speech_checks(audio.speech, audio.sample_rate) if audio.speech else []),
        ]

    def to_json(self) -> dict[str, Any]:
        data = _to_json(self)
        for modality in {"text", "image", "audio"} - set(self.modalities):
            del data[modality], data["flow"][modality]
        if self.image.vq and "image" in self.modalities:
            del data["image"]["decoder"]
        if self.shares_vocabulary and "image" in self.modalities:
            del data["image"]["encoder"]
        if self.mixes or self.speaks_only:
            del data["audio"]["encoder"], data["audio"]["decoder"]
        if self.speaks_only:
            del data["flow"]["text"]
        return data

    @property
    def shares_vocabulary(self) -> bool:
        """Whether codes are ids of the text's vocabulary, in one table."""
        return self.network in ("unified", "omnidiffusion")

    @property
    def mixes(self) -> bool:
        """Whether an answer of any modality is ids of the whole vocabulary, predicted by the one
        head: text, codes of a picture and of a sound may stand in it side by side."""
        return self.network == "omnidiffusion"

    @property
    def speaks_only(self) -> bool:
        """Whether its answers are sounds only."""
        return self.network == "omnivoice"

    @property
    def answers(self) -> tuple[Modality, ...]:
        """The modalities of its answers."""
        return ("audio",) if self.speaks_only else self.modalities

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

    def told(self, kinds: Collection[str]) -> ModelConfig:
        """The config with the settings that it has for a prompt of these modalities."""
        if self.heard is None or "audio" not in kinds:
            return self
        return dataclasses.replace(self, flow=self.heard)

    @property
    def causal(self) -> bool:
        """Whether it is an autoregressive model of text. generate/autoregressive.py decodes such a
        model, and no flow samples from it."""
        return self.backbone.attention == "causal"

    @property
    def metric_modalities(self) -> tuple[Modality, ...]:
        """Those whose path is defined by a metric table."""
        return tuple(name for name in self.answers if self.path(name).kind == "metric")

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
