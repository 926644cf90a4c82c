"""Answers as files: which suffix holds which modality, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextomni_edge.errors import UsageError
from nextomni_edge.media.image import enlarged, format_of
from nextomni_edge.modalities.image import IMAGE
from nextomni_edge.modalities.modality import TEXT
from nextomni_edge.modalities.table import MODALITIES, Kind


def kind_of_output(path: Path) -> Kind:
    """The modality that a file's suffix holds. UsageError: none, or a picture as well as a
    video."""
    suffix = path.suffix.lower()
    holds = [kind for kind, record in MODALITIES.items() if suffix in record.formats]
    # of the formats that hold both, these are hardly ever an animation
    if IMAGE.name in holds and suffix in (".png", ".webp"):
        return IMAGE.name
    if len(holds) == 1:
        return holds[0]
    if holds:
        titles = " or ".join(MODALITIES[kind].title for kind in holds)
        raise UsageError(
            f"{path}: a {suffix} file holds {titles}; say which with --to {' or --to '.join(holds)}"
        )
    every = ", ".join(
        suffix for record in MODALITIES.values() for suffix in record.formats if suffix
    )
    raise UsageError(f"{path}: unknown suffix {path.suffix!r}; expected one of {every}")


def check_format(kind: Kind, path: Path) -> None:
    """UsageError where a file of this name does not hold an answer of this kind."""
    suffix, formats = path.suffix.lower(), MODALITIES[kind].formats
    if suffix in formats:
        return
    holds = [other for other, record in MODALITIES.items() if suffix in record.formats]
    if kind == TEXT and holds:
        raise UsageError(
            f"{path}: a {suffix} file holds {MODALITIES[holds[0]].title}, but the answer is a text;"
            f" name a .txt file, or ask for it with --to {holds[0]}"
        )
    format_of(path, formats)


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


def scaled(kind: Kind, media: Any, scale: int) -> Any:
    """Pictures, or a video's frames, enlarged so many times. UsageError: media without pixels, or a
    scale that cannot be."""
    if scale == 1:
        return media
    if MODALITIES[kind].segments != IMAGE.name:
        raise UsageError(
            f"scale is for pictures and videos, but the answer is {MODALITIES[kind].title}"
        )
    return enlarged(media, scale)
