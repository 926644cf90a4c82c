"""What the software knows of one modality: one record, made in one file."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.spec import GraphSpec

Float32 = NDArray[np.float32]
Shape = Callable[[ModelConfig, int], tuple[int, ...]]


@dataclass(frozen=True)
class Codec:
    """
    What turns media into sub-codes and back: the components `<name>_encoder` and `<name>_decoder`.

    media: the wire name of what the encoder reads; rank: of one such medium, without the batch
    axis. waveform: whether what the decoder gives is samples cut in tokens, to be joined. graphs:
    "module:function", which gives the codec's interfaces for a model's config. graphs.py has the
    projector and the head, which are alike for every coded modality.
    """

    media: str
    decoded: str
    rank: int
    graphs: str
    waveform: bool = False

    def specs(self, config: ModelConfig) -> list[GraphSpec]:
        """The interfaces of the codec's components."""
        found: list[GraphSpec] = _function(self.graphs)(config)
        return found


@dataclass(frozen=True)
class Stretch:
    """A part of a long medium: its first and last second, None of a whole file, and the media as
    the encoder takes them."""

    start: float | None
    stop: float | None
    media: Any


@dataclass(frozen=True)
class Modality:
    """
    One modality of prompts and answers, by the name that `--to` and a segment's markers bear.

    title: with its article, for sentences. frames_of: the modality of its frames, where it is a
    series of them between markers of its own (a video's are images).

    suffixes: of the files that it is read from; opened_by: what reads them, for sentences. formats:
    suffix → format of the files that it is written to. reader and writer: "module:function", loaded
    at the first use, so that this table imports no media library. `read` and `write` say what they
    take. windower: likewise, of a medium that may be longer than the model takes at once.

    most: the longest answer, in the modality's own units (blocks of text, tokens of sound, frames
    of video; an image is 1). usual: the answer's length where none is asked for. shape: of the
    tokens that stand for an answer of so many units. codec: None of text, which the tokenizer turns
    into tokens.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    opened_by: str
    formats: dict[str, str]
    reader: str
    writer: str
    most: Callable[[ModelConfig], int]
    usual: Callable[[ModelConfig], int]
    shape: Shape
    codec: Codec | None = None
    frames_of: str | None = None
    windower: str | None = None

    @property
    def segments(self) -> str:
        """The modality of its segments."""
        return self.frames_of or self.name

    @property
    def markers(self) -> tuple[str, ...]:
        """The names of the tokens that stand before and behind it; text has none."""
        return (f"{self.name}_start", f"{self.name}_end") if self.segments != TEXT else ()

    def read(self, path: Path, config: ModelConfig, trim: bool = False) -> Any:
        """A file as the encoder takes it, all frames at once where there are some; of text the
        text. `trim` keeps the beginning of one that is too long. InputError: it is not of this
        modality, damaged, or too long."""
        return _function(self.reader)(path, config, trim)

    def windows(self, path: Path, config: ModelConfig) -> Iterator[Stretch]:
        """A whole file, one stretch after the other, each as `read` gives a file. What is short or
        has no length is one stretch. Errors as `read`'s."""
        if self.windower is None:
            return iter([Stretch(None, None, self.read(path, config, trim=True))])
        found: Iterator[Stretch] = _function(self.windower)(path, config)
        return found

    def write(self, path: Path, media: Any, config: ModelConfig, frames_per_second: float) -> None:
        """Write decoded media, or a text, in one step; the suffix chooses the format."""
        _function(self.writer)(path, media, config, frames_per_second)


TEXT: Final = "text"  # the one modality whose tokens are ids of the tokenizer


def one(_: ModelConfig) -> int:
    """The length of what has no length."""
    return 1


def _function(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = pkgutil.resolve_name(name)
    return found
