"""Answers as files: which suffix holds which modality, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.media.audio import AUDIO_FORMATS, audio_bytes
from nextomni_edge.media.image import IMAGE_FORMATS, enlarged, format_of, image_bytes
from nextomni_edge.media.video import VIDEO_FORMATS, video_bytes
from nextomni_edge.tokens.chat import Kind

TEXT_FORMATS: Final = {".txt": "text", ".md": "text", "": "text"}
FORMATS: Final[dict[Kind, dict[str, str]]] = {
    "text": TEXT_FORMATS,
    "image": IMAGE_FORMATS,
    "audio": AUDIO_FORMATS,
    "video": VIDEO_FORMATS,
}
NAMED: Final[dict[Kind, str]] = {
    "text": "a text", "image": "a picture", "audio": "a sound", "video": "a video",
}  # fmt: skip


def kind_of_output(path: Path) -> Kind:
    """The modality that a file's suffix holds. UsageError: none, or a picture as well as a
    video."""
    suffix = path.suffix.lower()
    holds = [kind for kind, formats in FORMATS.items() if suffix in formats]
    # of the formats that hold both, these are hardly ever an animation
    if "image" in holds and suffix in (".png", ".webp"):
        return "image"
    if len(holds) == 1:
        return holds[0]
    if holds:
        raise UsageError(
            f"{path}: a {suffix} file holds {' or '.join(NAMED[kind] for kind in holds)}; say which"
            f" with --to {' or --to '.join(holds)}"
        )
    every = ", ".join(suffix for formats in FORMATS.values() for suffix in formats if suffix)
    raise UsageError(f"{path}: unknown suffix {path.suffix!r}; expected one of {every}")


def check_format(kind: Kind, path: Path) -> None:
    """UsageError where a file of this name does not hold an answer of this kind."""
    suffix = path.suffix.lower()
    if suffix in FORMATS[kind]:
        return
    holds = next((other for other, formats in FORMATS.items() if suffix in formats), None)
    if kind == "text" and holds:
        raise UsageError(
            f"{path}: a {suffix} file holds {NAMED[holds]}, but the answer is a text; name a .txt"
            f" file, or ask for it with --to {holds}"
        )
    format_of(path, FORMATS[kind])


def check_place(path: Path) -> None:
    """UsageError, before any work, where no file can be written: no such folder, or a folder."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise UsageError(
            f"{path}: the folder {path.parent} does not exist; create it or choose another"
        )


def check_output(kind: Kind, path: Path) -> None:
    """UsageError, before any work, where an answer of this kind could not be written to `path`."""
    check_format(kind, path)
    check_place(path)


def encoded(
    kind: Kind,
    media: NDArray[np.float32],
    name: Path,
    config: ModelConfig,
    frames_per_second: float,
    scale: int,
) -> bytes:
    """A file of a model's pixels (3,S,S), waveform (samples,) or frames (F,3,S,S), in the format of
    the name's suffix. UsageError: the suffix is of another kind, or a sound is to be scaled."""
    check_format(kind, name)
    if kind == "audio":
        if scale != 1:
            raise UsageError("scale is for pictures and videos, but the answer is a sound")
        return audio_bytes(media, config.audio.sample_rate, name)
    larger = enlarged(media, scale)
    if kind == "image":
        return image_bytes(larger, name, config.image.truncated)
    return video_bytes(larger, frames_per_second, name)
