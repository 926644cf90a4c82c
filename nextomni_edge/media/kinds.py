"""The modality of a file, by its suffix, and plain words for a file of another kind."""

from __future__ import annotations

import errno
import os
from io import BufferedReader
from pathlib import Path
from typing import Final

from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.modalities.table import MODALITIES, Kind

_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # also a link to nothing or itself
MAX_MEDIA: Final = 2**35  # bytes of one file
KINDS: Final[tuple[Kind, ...]] = tuple(MODALITIES)
_BY_SUFFIX: Final[dict[str, Kind]] = {
    suffix: record.name for record in MODALITIES.values() for suffix in record.suffixes
}


def kind_of(path: Path) -> Kind | None:
    """The modality of a file's suffix, or None. An animated picture counts as an image here."""
    return _BY_SUFFIX.get(path.suffix.lower())


def check_file(path: Path) -> None:
    """InputError: as in `open_medium`."""
    open_medium(path).close()


def open_medium(path: Path) -> BufferedReader:
    """A regular file of 1 to MAX_MEDIA bytes, to read. What reads it takes this open file: another
    file may have the same path by then.

    InputError: no such file, no regular file, empty, or larger.
    """
    try:
        file = open_regular(path, MAX_MEDIA)
    except InputError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        if cause.errno in _ABSENT:
            raise InputError(f"{path}: no such file") from cause
        if cause.errno == errno.ENXIO:
            raise InputError(f"{path}: a socket, expected a regular file") from cause
        # a name too long, a folder without permission
        raise InputError(f"{str(path)!r}: cannot be opened ({cause.strerror})") from cause
    except ValueError as error:  # a NUL inside the name
        raise InputError(f"{str(path)!r}: cannot be opened ({error})") from error
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise InputError(f"{path}: the file is empty")
    return file


def wrong_kind(path: Path, wanted: Kind) -> str:
    """Why a file has another modality, with the option to use where its suffix says so."""
    sentence = f"not {MODALITIES[wanted].title} that {MODALITIES[wanted].opened_by}"
    found = kind_of(path)
    if found is None or found == wanted:
        return sentence
    return f"{sentence}; it looks like {MODALITIES[found].title}: give it as --{found}"
