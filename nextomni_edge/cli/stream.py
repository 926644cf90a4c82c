"""`--stream`: what the sampler does, shown while it does it: text as it stands after each step, a
picture as it forms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from nextomni_edge.errors import UsageError
from nextomni_edge.media.image import format_of
from nextomni_edge.media.video import VIDEO_FORMATS, write_video

if TYPE_CHECKING:
    from nextomni_edge.cli.console import Console
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.steps import StepRecord
    from nextomni_edge.tokens.chat import Kind, Part
    from nextomni_edge.tokens.sequence import Ids

AT_ONCE: Final = 32  # pictures that are decoded together


class TextStream:
    """Shows the text that x_t spells, on stderr, whenever it is another."""

    def __init__(self, console: Console, model: EdgeModel) -> None:
        self.console, self.model = console, model
        self.shown = ""

    def __call__(self, record: StepRecord) -> None:
        text = self.model.tokenizer.decode(record.x_t[0])
        if text != self.shown:
            self.console.partial(record.t, text)
            self.shown = text

    def write(self, path: Path, answer: Part, frames_per_second: float) -> None:
        """The text as it is at the end, in one file."""
        from nextomni_edge.cli.answer import Answer

        Answer(answer, None, 0).write(path, frames_per_second)


class PictureStream:
    """Keeps x_t of every step; the file is a film of them, which ends with the answer."""

    def __init__(self, model: EdgeModel) -> None:
        self.model = model
        self.codes: list[Ids] = []

    def __call__(self, record: StepRecord) -> None:
        self.codes.append(record.x_t[0])

    def write(self, path: Path, answer: Part, frames_per_second: float) -> None:
        """Write the film in one step; its suffix chooses the format."""
        codes = np.stack([*self.codes, np.asarray(answer.value)])
        parts = [
            self.model.decode_image(codes[start : start + AT_ONCE])
            for start in range(0, len(codes), AT_ONCE)
        ]
        write_video(path, np.concatenate(parts), frames_per_second)


def check_stream(kind: Kind, output: Path | None) -> None:
    """UsageError, before a model is loaded, where there is nothing to show, or no file that could
    hold it."""
    if kind not in ("text", "image"):
        raise UsageError(
            f"--stream shows text and pictures as they form, but {kind} is asked for; leave it out"
        )
    if kind == "image" and output:
        format_of(output, VIDEO_FORMATS)


def open_stream(console: Console, model: EdgeModel, kind: Kind) -> TextStream | PictureStream:
    """What to watch an answer of this kind with."""
    return TextStream(console, model) if kind == "text" else PictureStream(model)
