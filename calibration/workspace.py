"""Where quantised layers wait until the bundle is whole: a folder next to it that survives a kill,
so that no layer is done twice.

A layer's entry is written last, under its own name, when its parts are whole. Parts are named by
content. The folder's key holds everything that decides the parts: the parent's manifest, the config
and the calibration.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.manifest import WEIGHTS
from nextomni_edge.calibration.recipes.parts import Parts
from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.formats.tensor_file import little_endian

MAX_ENTRY = 2**20


@dataclass(frozen=True)
class StoredPart:
    """One part of a layer: its SHA-256 (its name in the store), onnx's name of its dtype, shape,
    and bytes."""

    digest: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def file(self) -> str:
        """The part's path in a bundle."""
        return f"{WEIGHTS}/{self.digest}"


@dataclass(frozen=True)
class Entry:
    """A finished layer."""

    decision: Decision
    parts: dict[str, StoredPart]


class Workspace:
    """`.NAME.quantise-KEY` next to the bundle NAME. Other folders of that name belong to other runs
    and are removed."""

    def __init__(self, out: Path, key: Mapping[str, object], resume: bool) -> None:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.path = out.with_name(f".{out.name}.quantise-{digest}")
        for other in out.parent.glob(f".{out.name}.quantise-*"):
            if other != self.path or not resume:
                shutil.rmtree(other)
        self.path.mkdir(exist_ok=True)

    def load(self, layer: str) -> Entry | None:
        """A layer from an earlier run, if its parts are unchanged."""
        path = self._entry(layer)
        if not path.exists():
            return None
        try:
            entry = read_dataclass(Entry, read_json(path, MAX_ENTRY), str(path))
            whole = all(
                file_sha256(self.file(part)) == part.digest for part in entry.parts.values()
            )
        except InputError:
            return None
        return entry if whole else None

    def store(
        self,
        layer: str,
        decision: Decision,
        parts: Parts,
        shapes: Mapping[str, tuple[str, tuple[int, ...]]],
    ) -> Entry:
        """Write a layer's parts, read them back, and mark it as done. `shapes` gives packed parts
        their onnx dtype and shape."""
        kept = {
            name: self._part(array, *shapes.get(name, (array.dtype.name, array.shape)))
            for name, array in parts.items()
        }
        return self.mark(
            layer,
            Entry(
                dataclasses.replace(decision, bytes=sum(part.nbytes for part in kept.values())),
                kept,
            ),
        )

    def mark(self, layer: str, entry: Entry) -> Entry:
        """Mark a layer as done, with its entry."""
        with atomic_write(self._entry(layer), "w") as file:
            json.dump(dataclasses.asdict(entry), file)
        return entry

    def file(self, part: StoredPart) -> Path:
        return self.path / part.digest

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _entry(self, layer: str) -> Path:
        return self.path / f"{hashlib.sha256(layer.encode()).hexdigest()[:24]}.json"

    def _part(self, array: Any, dtype: str, shape: tuple[int, ...]) -> StoredPart:
        data = little_endian(array)
        part = StoredPart(hashlib.sha256(data).hexdigest(), dtype, tuple(shape), data.nbytes)
        if not self.file(part).exists():
            with atomic_write(self.file(part)) as file:
                file.write(data)
        if file_sha256(self.file(part)) != part.digest:
            raise InputError(f"{self.file(part)}: the disk gave back other bytes than were written")
        return part
