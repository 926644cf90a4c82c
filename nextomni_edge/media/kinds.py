"""Which modality a file is, by its suffix, and the plain words for a file that is something
else."""

from __future__ import annotations

from pathlib import Path
from typing import Final, get_args

from nextomni_edge.errors import InputError
from nextomni_edge.tokens.chat import Kind

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SUFFIXES: Final[dict[Kind, tuple[str, ...]]] = {
    "text": (".txt", ".md"),
    "image": (
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".heic",
        ".heif",
        ".hif",
        ".jp2",
        ".ico",
        ".qoi",
        ".tga",
        ".ppm",
    ),
    "audio": (
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".m4a",
        ".aac",
        ".aif",
        ".aiff",
        ".au",
        ".wma",
    ),
    "video": (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".3gp"),
}
_BY_SUFFIX: Final[dict[str, Kind]] = {
    suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes
}
_ARTICLE = {"text": "a text", "image": "a picture", "audio": "a sound", "video": "a video"}
_READERS = {
    "text": "is UTF-8",
    "image": "Pillow decodes",
    "audio": "soundfile or PyAV decodes",
    "video": "Pillow or PyAV decodes",
}


def kind_of(path: Path) -> Kind | None:
    """The modality that a file's suffix stands for, or None. An animated picture counts as an image
    here."""
    return _BY_SUFFIX.get(path.suffix.lower())


def check_file(path: Path) -> None:
    """InputError unless the path is an ordinary file with at least one byte; a pipe would block for
    ever."""
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if not path.is_file():
            raise InputError(f"{path}: not a file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
    # a name too long, a NUL inside it, a folder without permission
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r}: cannot be opened ({error})") from error


def wrong_kind(path: Path, wanted: Kind) -> str:
    """Why a file is not of the wanted modality, with the option to use where its suffix tells."""
    sentence = f"not {_ARTICLE[wanted]} that {_READERS[wanted]}"
    found = kind_of(path)
    return sentence + (
        f"; it looks like {_ARTICLE[found]}: give it as --{found}"
        if found not in (None, wanted)
        else ""
    )
