"""The one door by which files of strangers are opened: regular files of at most the size expected.

A FIFO or a device would wait for ever or never end, a sparse file may claim terabytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from nextomni_edge.errors import InputError

CHUNK = 2**20  # bytes that are hashed at once
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path, most: int | None = None) -> BufferedReader:
    """A file to read, links followed. InputError: it is not there, no regular file, or larger than
    `most` bytes."""
    try:
        # a FIFO without a writer would hold up its opening
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        status = os.fstat(descriptor)
        check_regular(path, status, most)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path, status: os.stat_result, most: int | None = None) -> None:
    """InputError: what has this status is no regular file, or is larger than `most` bytes."""
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for holds, name in _KINDS if holds(status.st_mode)), "no file")
        raise InputError(f"{path}: {kind}, expected a regular file")
    if most is not None and status.st_size > most:
        raise InputError(f"{path}: larger than {most} bytes, the most that is read")


def sha256_of(file: BufferedReader) -> str:
    """The hexadecimal digest of what an open file still holds, in constant memory."""
    found = hashlib.sha256()
    while chunk := file.read(CHUNK):
        found.update(chunk)
    return found.hexdigest()


def read_regular(path: Path, most: int | None = None) -> bytes:
    """A whole file, of at most `most` bytes. InputError: as in `open_regular`, or it grew while it
    was read."""
    try:
        with open_regular(path, most) as file:
            data = file.read(-1 if most is None else most + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if most is not None and len(data) > most:
        raise InputError(f"{path}: larger than {most} bytes, the most that is read")
    return data
