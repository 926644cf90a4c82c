"""From a finished sequence to what a person sees or hears, and to a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.media.audio import AUDIO_FORMATS, write_audio
from nextomni_edge.media.image import IMAGE_FORMATS, format_of, write_image
from nextomni_edge.media.video import VIDEO_FORMATS, write_video
from nextomni_edge.tokens.chat import Kind, Part
from nextomni_edge.tokens.sequence import Sequence

if TYPE_CHECKING:
    from nextomni_edge.generate.model import EdgeModel

Float32 = NDArray[np.float32]

FORMATS = {"image": IMAGE_FORMATS, "audio": AUDIO_FORMATS, "video": VIDEO_FORMATS}


@dataclass(frozen=True)
class Answer:
    """`part` goes into the conversation. `media`: pixels (3,S,S), waveform (samples,), frames
    (F,3,S,S); None for text."""

    part: Part
    media: Float32 | None
    sample_rate: int

    @property
    def kind(self) -> Kind:
        return self.part.kind

    @property
    def text(self) -> str:
        """The text, or a description of the media."""
        if self.media is None:
            return str(self.part.value)
        if self.kind == "audio":
            return f"[sound, {len(self.media) / self.sample_rate:.2f} s]"
        frames = f", {len(self.media)} frames" if self.kind == "video" else ""
        return (
            f"[{'picture' if self.kind == 'image' else 'video'},"
            f" {self.media.shape[-1]}x{self.media.shape[-2]}{frames}]"
        )

    def write(self, path: Path, frames_per_second: float) -> None:
        """Write the file in one step; its suffix chooses the format."""
        if self.media is None:
            with atomic_write(path, "w") as file:
                file.write(f"{self.part.value}\n")
        elif self.kind == "image":
            write_image(path, self.media)
        elif self.kind == "audio":
            write_audio(path, self.media, self.sample_rate)
        else:
            write_video(path, self.media, frames_per_second)


def read_answer(model: EdgeModel, sequence: Sequence) -> Answer:
    """Decode what a sequence has generated."""
    part, rate = model.response(sequence), model.config.audio.sample_rate
    if isinstance(part.value, str):
        return Answer(part, None, rate)
    return Answer(
        part,
        model.decode_audio(part.value) if part.kind == "audio" else model.decode_image(part.value),
        rate,
    )


def check_output(kind: Kind, path: Path) -> None:
    """UsageError, before any work, where the answer could not be written: unknown suffix, no such
    folder, a folder."""
    if kind in FORMATS:
        format_of(path, FORMATS[kind])
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise UsageError(
            f"{path}: the folder {path.parent} does not exist; create it or choose another"
        )
