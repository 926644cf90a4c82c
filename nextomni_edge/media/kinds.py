"""The modality of a file, by its suffix, and plain words for a file of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import check_regular
from nextomni_edge.modalities.table import MODALITIES, Kind

MAX_MEDIA: Final = 2**35  # bytes of one file
KINDS: Final[tuple[Kind, ...]] = tuple(MODALITIES)
_BY_SUFFIX: Final[dict[str, Kind]] = {
    suffix: record.name for record in MODALITIES.values() for suffix in record.suffixes
}


def kind_of(path: Path) -> Kind | None:
    """The modality of a file's suffix, or None. An animated picture counts as an image here."""
    return _BY_SUFFIX.get(path.suffix.lower())


def check_file(path: Path) -> None:
    """InputError unless the path is a regular file of 1 to MAX_MEDIA bytes. A FIFO would block
    forever, a sparse terabyte would be read for hours."""
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        status = path.stat()
        check_regular(path, status, MAX_MEDIA)
        if status.st_size == 0:
            raise InputError(f"{path}: the file is empty")
    # a name too long, a NUL inside it, a folder without permission
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r}: cannot be opened ({error})") from error


def wrong_kind(path: Path, wanted: Kind) -> str:
    """Why a file has another modality, with the option to use where its suffix says so."""
    sentence = f"not {MODALITIES[wanted].title} that {MODALITIES[wanted].opened_by}"
    found = kind_of(path)
    if found is None or found == wanted:
        return sentence
    return f"{sentence}; it looks like {MODALITIES[found].title}: give it as --{found}"
