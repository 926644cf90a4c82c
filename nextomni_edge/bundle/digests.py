"""The digests of a bundle's files: of every byte at each opening, or once for each state of them.

Once means: a file that was checked is not read again while the file system says that nothing
touched it. The record of a check is in the user's cache folder. It holds, for each file, the
device, inode, size, and times of modification and of change. A program can set the first time back
(`touch -d`), but no program can set the second. What this does not catch is a change below the file
system: a disk that flips bits, or a system clock that was set back on purpose.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

from nextomni_edge.bundle.manifest import FileRecord
from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.files import atomic_write, user_cache
from nextomni_edge.formats.strict_json import read_json

FORMAT: Final = "nextomni-edge-checked"
FOLDER: Final = "checked"
LARGEST: Final = 4 * 2**20  # bytes of a record
# A file that changed so lately may change again without another time: file systems count in ticks.
SETTLED_NS: Final = 2 * 10**9
READERS: Final = 4  # a disk serves a few readers at once, and each holds one small buffer

Hashes = Literal["always", "once"]
State = list[int]


def check_digests(path: Path, files: Mapping[str, FileRecord], once: bool = False) -> None:
    """Compare every file with the manifest. InputError: the first file that differs.

    `once` leaves out the files whose state was recorded by an earlier check of this manifest. A
    record that cannot be read counts as none, and one that cannot be written is not kept.
    """
    if not once:
        _check(path, files)
        return
    record = _record_file(path, files)
    known = _read(record) if record else {}
    started = time.time_ns()
    states = {name: file_state(path / name) for name in files}
    unknown = [name for name in files if known.get(name) != states[name]]
    _check(path, {name: files[name] for name in unknown})
    if record and unknown:
        kept = {
            name: state
            for name, state in states.items()
            if state == file_state(path / name) and _settled(state, started)
        }
        _keep(record, kept)


def _check(path: Path, files: Mapping[str, FileRecord]) -> None:
    """Hash in several threads, since the digest releases the interpreter's lock; the answer is that
    of one thread: the first file, in the manifest's order, that differs."""
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda name: file_sha256(path / name), files)
        for (name, record), digest in zip(files.items(), found, strict=True):
            if digest != record.sha256:
                pool.shutdown(cancel_futures=True)
                raise InputError(
                    f"{path}: file {name!r} has sha256 {digest}, expected {record.sha256}"
                )


def file_state(file: Path) -> State:
    """What changes when a file does: device, inode, size, and the times of modification and of
    change. InputError: the file is gone."""
    try:
        found = file.stat()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _settled(state: State, now: int) -> bool:
    return max(state[-2:]) < now - SETTLED_NS


def _record_file(path: Path, files: Mapping[str, FileRecord]) -> Path | None:
    """One record for each place and manifest. None: there is no home folder to keep it in."""
    expected = [[name, files[name].size, files[name].sha256] for name in sorted(files)]
    key = json.dumps([str(path.resolve()), expected])
    try:
        return user_cache() / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    except UsageError:
        return None


def _read(record: Path) -> Mapping[str, object]:
    with contextlib.suppress(InputError, OSError):
        if record.is_file():
            data = read_json(record, LARGEST)
            if isinstance(data, dict) and data.get("format") == FORMAT:
                states = data.get("files")
                return states if isinstance(states, dict) else {}
    return {}


def _keep(record: Path, states: Mapping[str, State]) -> None:
    with contextlib.suppress(UsageError, OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(record, "w") as stream:
            json.dump({"format": FORMAT, "files": states}, stream, allow_nan=False)
