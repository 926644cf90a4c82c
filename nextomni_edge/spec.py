"""Types of what crosses a component's border: tensor names, dtypes and dimensions. A leaf module:
it imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Dtype = Literal["float32", "float16", "int64", "bool"]
# of stored weights; the last four are llama.cpp's
Precision = Literal["float32", "float16", "q8_0", "q6_k", "q4_k_m", "q4_0"]
# what a segment can be: a name of modalities/table.py; a video is image segments between video
# markers
Modality: TypeAlias = str

MAX_BATCH: Final = 64  # media or sequences of one call of a component


@dataclass(frozen=True)
class Dim:
    """A dimension that varies between `min` and `max` (both inclusive) from one call to the
    next."""

    name: str
    min: int
    max: int

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max:
            raise ValueError(
                f"dimension {self.name}: bounds {self.min}..{self.max} are not ordered"
            )


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a graph: its name, its dtype, and per axis an exact size or a `Dim`."""

    name: str
    dtype: Dtype
    dims: tuple[int | Dim, ...]

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The concrete shape when the named dims have the given sizes."""
        return tuple(dim if isinstance(dim, int) else sizes[dim.name] for dim in self.dims)

    def mismatch(self, dtype: str, shape: tuple[int, ...], bound: dict[str, int]) -> str | None:
        """Why a tensor of this dtype and shape does not fit, or None; `bound` collects the named
        dims seen so far."""
        if dtype != self.dtype:
            return f"{self.name}: dtype {dtype}, expected {self.dtype}"
        if len(shape) != len(self.dims):
            return f"{self.name}: rank {len(shape)}, expected {len(self.dims)}"
        for axis, (size, dim) in enumerate(zip(shape, self.dims, strict=True)):
            if isinstance(dim, int):
                if size != dim:
                    return f"{self.name}: axis {axis} has size {size}, expected {dim}"
            elif not dim.min <= size <= dim.max:
                return (
                    f"{self.name}: axis {axis} ({dim.name}) has size {size}, expected {dim.min} to"
                    f" {dim.max}"
                )
            elif bound.setdefault(dim.name, size) != size:
                return (
                    f"{self.name}: axis {axis} ({dim.name}) has size {size}, but another tensor has"
                    f" {bound[dim.name]}"
                )
        return None

    def to_json(self) -> dict[str, object]:
        dims: list[object] = [
            dim if isinstance(dim, int) else {"name": dim.name, "min": dim.min, "max": dim.max}
            for dim in self.dims
        ]
        return {"name": self.name, "dtype": self.dtype, "dims": dims}


@dataclass(frozen=True)
class GraphSpec:
    """A component's interface. `states` names (input, output) pairs that the caller keeps from one
    call to the next."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[tuple[str, str], ...] = ()

    def dims(self) -> dict[str, Dim]:
        """Every named dim of the graph, by name."""
        found: dict[str, Dim] = {}
        for tensor in (*self.inputs, *self.outputs):
            for dim in tensor.dims:
                if isinstance(dim, Dim) and found.setdefault(dim.name, dim) != dim:
                    raise ValueError(
                        f"graph {self.name}: dimension {dim.name} is declared with two ranges"
                    )
        return found

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
            "states": [list(pair) for pair in self.states],
        }


class Wire:
    """The names of the graphs' inputs and outputs, in every format."""

    TOKENS: Final = "tokens"
    CODES: Final = "codes"
    EMBEDDINGS: Final = "embeddings"
    POSITIONS: Final = "positions"
    ATTENTION_MASK: Final = "attention_mask"
    PAST_KEYS: Final = "past_keys"
    PAST_VALUES: Final = "past_values"
    KEYS: Final = "keys"
    VALUES: Final = "values"
    HELD: Final = "held"  # of a Core ML package with a state
    HIDDEN: Final = "hidden"
    LOGITS: Final = "logits"
    PIXELS: Final = "pixels"
    LOG_MEL: Final = "log_mel"
    WAVEFORM: Final = "waveform"
    FEATURES: Final = "features"
    PLACES: Final = "places"
    CONDITION: Final = "condition"
    X_T: Final = "x_t"
    TIME: Final = "time"
    VELOCITY: Final = "velocity"
    MEL: Final = "mel"
    PITCH: Final = "pitch"
    SINES: Final = "sines"


class ComponentName:
    """The components that leave PyTorch (METHOD 2), one graph each."""

    EMBED_TEXT: Final = "embed_text"
    EMBED_IMAGE: Final = "embed_image"
    EMBED_AUDIO: Final = "embed_audio"
    BACKBONE: Final = "backbone"
    TEXT_HEAD: Final = "text_head"
    IMAGE_HEAD: Final = "image_head"
    AUDIO_HEAD: Final = "audio_head"
    IMAGE_ENCODER: Final = "image_encoder"
    IMAGE_DECODER: Final = "image_decoder"
    IMAGE_QUANTISER: Final = "image_quantiser"
    AUDIO_ENCODER: Final = "audio_encoder"
    AUDIO_DECODER: Final = "audio_decoder"
    AUDIO_QUANTISER: Final = "audio_quantiser"
    SPEECH_CONDITION: Final = "speech_condition"
    SPEECH_VELOCITY: Final = "speech_velocity"
    SPEECH_PITCH: Final = "speech_pitch"
    VOCODER: Final = "vocoder"
    SPEECH: Final = (SPEECH_CONDITION, SPEECH_VELOCITY, SPEECH_PITCH, VOCODER)
    ALL: Final = (
        EMBED_TEXT, EMBED_IMAGE, EMBED_AUDIO, BACKBONE, TEXT_HEAD, IMAGE_HEAD, AUDIO_HEAD,
        IMAGE_ENCODER, IMAGE_DECODER, IMAGE_QUANTISER, AUDIO_ENCODER, AUDIO_DECODER,
        AUDIO_QUANTISER, *SPEECH,
    )  # fmt: skip
