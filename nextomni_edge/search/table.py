"""The index file: a safetensors file with `embeddings` (N, H) float32, whose rows are
L2-normalised, and in its header, as JSON, what each row is.

One file renamed into place is never half old and half new.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.formats.strict_json import parse_json, read_dataclass
from nextomni_edge.tokens.chat import Kind

Float32 = NDArray[np.float32]

FORMAT = "nextomni-edge-index"
VERSION = 1
# the coarsest file clock in use (FAT): a file written this shortly before it was hashed may change
# unseen
CLOCK_NS = 2_000_000_000


@dataclass(frozen=True)
class Entry:
    """One row of the index. `path` is relative to the folder, with slashes; `hashed_ns` is when the
    file was read."""

    path: str
    kind: Kind
    sha256: str
    size: int
    mtime_ns: int
    hashed_ns: int

    def unchanged(self, status: os.stat_result) -> bool:
        """Whether the file surely is the hashed one, only by its size and time."""
        same = (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return same and self.mtime_ns + CLOCK_NS < self.hashed_ns


@dataclass(frozen=True)
class Header:
    """`model`: the identity of the bundle that made the embeddings, its manifest's SHA-256."""

    format: str
    version: int
    model: str
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Index:
    """Row i of `embeddings` (N, H) belongs to entry i; rows are in order of path."""

    model: str
    entries: tuple[Entry, ...]
    embeddings: Float32

    def search(
        self, query: Float32, count: int, kind: Kind | None = None
    ) -> list[tuple[Entry, float]]:
        """The `count` entries nearest to a normalised query (H,), by cosine, best first; ties keep
        the order of paths."""
        if count < 1:
            raise UsageError(f"count of results is {count}, expected at least 1")
        if query.shape != self.embeddings.shape[1:]:
            raise InputError(
                f"query embedding of shape {query.shape}, the index has {self.embeddings.shape[1:]}"
            )
        rows = [row for row, entry in enumerate(self.entries) if kind in (None, entry.kind)]
        cosines = self.embeddings[rows] @ query
        order = np.argsort(-cosines, kind="stable")[:count]
        return [(self.entries[rows[place]], float(cosines[place])) for place in order]


def save_index(path: Path, index: Index) -> None:
    """Replace the index file in one step."""
    from safetensors.numpy import save

    header = asdict(Header(FORMAT, VERSION, index.model, index.entries))
    with atomic_write(path) as file:
        file.write(save({"embeddings": index.embeddings}, metadata={"index": json.dumps(header)}))


def load_index(path: Path, model: str) -> Index:
    """Read an index that the given model made. InputError: it is missing or damaged, or another
    model made it."""
    if not path.is_file():
        raise InputError(
            f"{path}: no index; make it with `nextomni-edge search index {path.parent}`"
        )
    header, embeddings = _read_index(path)
    if header.model != model:
        raise InputError(
            f"{path}: made by another bundle ({header.model[:12]}, this one is {model[:12]}); "
            f"delete it and run `nextomni-edge search index {path.parent}`"
        )
    return Index(header.model, header.entries, embeddings)


def _read_index(path: Path) -> tuple[Header, Float32]:
    from safetensors import safe_open

    open_regular(path).close()
    try:
        with safe_open(path, framework="numpy") as file:
            described = parse_json((file.metadata() or {})["index"].encode(), str(path))
            embeddings = file.get_tensor("embeddings")
    # safetensors' own type for a bad file, KeyError, ValueError, OSError
    except Exception as error:
        raise InputError(f"{path}: not an index ({error}); delete it and index again") from error
    header = read_dataclass(Header, described, str(path))
    if (header.format, header.version) != (FORMAT, VERSION):
        raise InputError(
            f"{path}: {header.format} version {header.version}, expected {FORMAT} version {VERSION}"
        )
    if (
        embeddings.dtype != np.float32
        or embeddings.ndim != 2
        or len(embeddings) != len(header.entries)
    ):
        raise InputError(
            f"{path}: embeddings {embeddings.dtype} of {embeddings.shape} for {len(header.entries)}"
            " files"
        )
    if not np.isfinite(embeddings).all():
        raise InputError(f"{path}: embeddings that are not finite")
    if any(
        PurePosixPath(entry.path).is_absolute() or ".." in PurePosixPath(entry.path).parts
        for entry in header.entries
    ):
        raise InputError(f"{path}: a path that leaves the folder")
    return header, embeddings
