"""`--stream`: the answer shown while it forms: text after each step, a picture as a film."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from nextomni_edge.api.output import check_format
from nextomni_edge.errors import UsageError
from nextomni_edge.media.image import enlarged
from nextomni_edge.media.video import write_video

if TYPE_CHECKING:
    from nextomni_edge.api.model import Model
    from nextomni_edge.api.step import Step
    from nextomni_edge.cli.console import Console
    from nextomni_edge.tokens.chat import Kind
    from nextomni_edge.tokens.sequence import Ids

AT_ONCE: Final = 32  # pictures that are decoded together


class TextStream:
    """Shows the text that x_t spells, on stderr, whenever it is another."""

    def __init__(self, console: Console) -> None:
        self.console, self.shown = console, ""

    def __call__(self, step: Step) -> None:
        if step.answer.text != self.shown:
            self.shown = step.answer.text
            self.console.partial(step.t, self.shown)


class Film:
    """Keeps x_t of every step; its file is a film of them, which ends with the answer."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.codes: list[Ids] = []

    def __call__(self, step: Step) -> None:
        self.codes.append(np.asarray(step.answer.part.value))

    def write(self, path: Path, frames_per_second: float, scale: int) -> None:
        """Write the film in one step; its suffix chooses the format."""
        codes = np.stack(self.codes)
        parts = [
            self.model.edge.decode_image(codes[start : start + AT_ONCE])
            for start in range(0, len(codes), AT_ONCE)
        ]
        write_video(path, enlarged(np.concatenate(parts), scale), frames_per_second)


def check_stream(kind: Kind, output: Path | None) -> None:
    """UsageError, before a model is loaded, where there is nothing to show, or no file that could
    hold it."""
    if kind == "video":
        raise UsageError(
            "--stream shows texts and pictures as they form, and speech, but video is asked for;"
            " leave it out"
        )
    if kind == "image" and output:
        check_format("video", output)
