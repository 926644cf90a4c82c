"""Samples in sharded tar files (WebDataset's form), by number: which samples a batch has depends
only on the batch's number.

A loader's saved position belongs to one process. A number does not: any number of processes, begun
anywhere, reads the same samples in the same order.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tarfile
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError, reason_of
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import check_regular, open_regular
from nextomni_edge.formats.strict_json import read_dataclass, read_json

INDEX: Final = "shards.json"
MAX_INDEX: Final = 2**28  # bytes: about a million shards
TOGETHER: Final = 8  # shards that are shuffled as one, and open at a time

Sample = dict[str, bytes]  # by extension
Places = dict[str, tuple[int, int]]  # offset and size of each file of a sample


@dataclass(frozen=True)
class Shard:
    """A tar file of a folder, its samples, and its size in bytes."""

    file: str
    samples: int
    size: int


@dataclass(frozen=True)
class Index:
    """What shards.json holds."""

    shards: tuple[Shard, ...]

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)


def write_index(folder: Path) -> Index:
    """Count the samples of every tar file in a folder and write shards.json there. InputError: no
    tar file, or one that is damaged or holds no sample."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with open_regular(path) as file:
            samples, size = len(_members(path, file)), os.fstat(file.fileno()).st_size
        if not samples:
            raise InputError(f"{path}: no sample in it; expected files named KEY.EXTENSION")
        found.append(Shard(path.name, samples, size))
    if not found:
        raise InputError(f"{folder}: no .tar file in it; expected WebDataset's shards")
    index = Index(tuple(found))
    with atomic_write(folder / INDEX, "w") as written:
        written.write(json.dumps(asdict(index), indent=1) + "\n")
    return index


@functools.lru_cache(maxsize=4)
def _permutation(count: int, *seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)


def _members(path: Path, file: BufferedReader) -> list[Places]:
    """The samples of a tar file. Files with one name up to its first point are one sample, and
    stand next to each other. InputError: the tar file is damaged."""
    samples: list[Places] = []
    last = None
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isreg() or member.issparse():
                    continue
                name = Path(member.name)
                stem, _, extension = name.name.partition(".")
                key = str(name.with_name(stem)) if stem else None
                if key is None or not extension:
                    raise InputError(f"{path}: {member.name!r} is not named KEY.EXTENSION")
                if key != last:
                    samples.append({})
                if extension in samples[-1]:
                    raise InputError(f"{path}: two files are named {member.name!r}")
                samples[-1][extension] = (member.offset_data, member.size)
                last = key
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a whole tar file ({reason_of(error)})") from error
    return samples


class Shards:
    """The samples of a folder of tar files that shards.json lists, shuffled in every epoch.

    An epoch shuffles the shards, and then the samples of each TOGETHER shards in a row. InputError:
    there is no shards.json, or a shard is missing or of another size.

    As the Trainer's `Followed` it keeps a digest of the index in the state: other shards cannot
    resume a run.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        path = folder / INDEX
        if not path.exists():
            raise InputError(f"{path}: no such file; train.stream.write_index makes it")
        self.folder, self.seed = folder, seed
        self.index = read_dataclass(Index, read_json(path, MAX_INDEX), str(path))
        if not self.index.shards or any(shard.samples < 1 for shard in self.index.shards):
            raise InputError(f"{path}: a shard without samples, or no shard at all")
        for shard in self.index.shards:
            self._check(shard)
        digest = hashlib.sha256(json.dumps([asdict(self.index), seed]).encode()).hexdigest()
        self._state = {"shards": digest}
        self._counts = np.array([shard.samples for shard in self.index.shards])
        self._opened: dict[int, tuple[BufferedReader, list[Places]]] = {}

    def __len__(self) -> int:
        return self.index.samples

    def _check(self, shard: Shard) -> None:
        path = self.folder / shard.file
        if Path(shard.file).name != shard.file:
            raise InputError(f"{self.folder / INDEX}: shard {shard.file!r} is no file's name")
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); restore it") from error
        check_regular(path, status)
        if status.st_size != shard.size:
            raise InputError(
                f"{path}: {status.st_size} bytes, but {INDEX} says {shard.size}; restore the file"
            )

    def batch(self, number: int, size: int) -> list[Sample]:
        """The `size` samples of the batch of this number."""
        return [self.sample(number * size + place) for place in range(size)]

    def sample(self, number: int) -> Sample:
        """The sample of a number, counted over all epochs: extension → bytes. InputError: its shard
        is damaged, or is not the one of the index."""
        shard, place = self.place(number)
        file, members = self._open(shard)
        found = {}
        for extension, (offset, size) in members[place].items():
            file.seek(offset)
            found[extension] = file.read(size)
            if len(found[extension]) != size:
                raise InputError(f"{self.folder / self.index.shards[shard].file}: cut short")
        return found

    def place(self, number: int) -> tuple[int, int]:
        """The shard of a sample's number, and its place in it."""
        epoch, rest = divmod(number, len(self))
        shards = self._shuffled(len(self._counts), epoch)
        ends = self._counts[shards].cumsum()
        before = int(np.searchsorted(ends, rest, side="right"))
        first = before - before % TOGETHER
        group = shards[first : first + TOGETHER]
        ends = self._counts[group].cumsum()
        passed = int(self._counts[shards[:first]].sum())
        place = int(self._shuffled(int(ends[-1]), epoch, first)[rest - passed])
        within = int(np.searchsorted(ends, place, side="right"))
        return int(group[within]), place - int(ends[within] - self._counts[group[within]])

    def _shuffled(self, count: int, *of: int) -> NDArray[np.int64]:
        return _permutation(count, self.seed, *of)

    def _open(self, shard: int) -> tuple[BufferedReader, list[Places]]:
        if shard not in self._opened:
            if len(self._opened) >= TOGETHER:
                self._opened.pop(next(iter(self._opened)))[0].close()
            listed = self.index.shards[shard]
            path = self.folder / listed.file
            file = open_regular(path)
            members = _members(path, file)
            if len(members) != listed.samples:
                file.close()
                raise InputError(
                    f"{path}: {len(members)} samples, but {INDEX} says {listed.samples}; restore"
                    " the file"
                )
            self._opened[shard] = file, members
        return self._opened[shard]

    def state(self) -> dict[str, Any]:
        return self._state

    def load(self, state: dict[str, Any]) -> None:
        if state != self._state:
            raise InputError(
                f"{self.folder}: these are not the shards, or the seed, that the run began with;"
                " restore them, or begin another run"
            )
