"""The index: a table that SQLite keeps in one file.

A query compares INT8 copies of all embeddings first (blocks.py), then the float32 rows of the
nearest ones. A run that is killed leaves what it saved last: SQLite's journal undoes the rest at
the next opening.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.modalities.table import MODALITIES, Kind
from nextomni_edge.search.blocks import Blocks, Float32, Int64
from nextomni_edge.search.database import open_database, translated

if TYPE_CHECKING:
    import apsw

MAX_COUNT: Final = 1000
CANDIDATES: Final = 100  # the fewest that INT8 products choose for the exact comparison
COLUMNS: Final = "path, kind, sha256, size, mtime_ns, hashed_ns"  # an Entry's fields
STORED: Final = (
    "SELECT path, kind, start, stop, embedding FROM windows JOIN files ON files.id = file"
    " JOIN embeddings ON embeddings.id = windows.id WHERE windows.id IN"
)
# the coarsest file clock in use (FAT): a file written this shortly before it was hashed may change
# unseen
CLOCK_NS: Final = 2_000_000_000


@dataclass(frozen=True)
class Entry:
    """One file of the index. `path` is relative to the folder, with slashes; `hashed_ns` is when
    the file was read."""

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
class Window:
    """A stretch of a file and its L2-normalised embedding (H,). Times are seconds; None means the
    whole file."""

    start: float | None
    stop: float | None
    embedding: Float32


@dataclass(frozen=True)
class Match:
    """A file that was found: its nearest window, and that window's cosine to the query."""

    path: str
    kind: Kind
    cosine: float
    start: float | None
    stop: float | None


class Table:
    """An open index of one model's embeddings of `width` numbers. Close it, or use it in `with`."""

    def __init__(self, path: Path, connection: apsw.Connection, width: int) -> None:
        self.path, self.width = path, width
        self._connection = connection
        self._blocks = Blocks(path, connection, width)

    def __enter__(self) -> Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """What was not saved is undone."""
        self._connection.close()

    def __len__(self) -> int:
        """How many files the index holds."""
        return int(self._rows("SELECT count(*) FROM files")[0][0])

    def entries(self) -> list[Entry]:
        """Every file, in order of path."""
        rows = self._rows(f"SELECT {COLUMNS} FROM files ORDER BY path")
        return [self._entry(row) for row in rows]

    def entry(self, path: str) -> Entry | None:
        """What is known of the file with this relative path."""
        rows = self._rows(f"SELECT {COLUMNS} FROM files WHERE path = ?", path)
        return self._entry(rows[0]) if rows else None

    def windows(self, sha256: str, kind: Kind) -> list[Window]:
        """The windows of a file with this content, wherever it lies; none where it is new."""
        rows = self._rows(
            "SELECT start, stop, embedding FROM windows JOIN embeddings USING (id) WHERE file ="
            " (SELECT id FROM files WHERE sha256 = ? AND kind = ? LIMIT 1) ORDER BY windows.id",
            sha256, kind,
        )  # fmt: skip
        return [Window(start, stop, self._embedding(blob)) for start, stop, blob in rows]

    def put(self, entry: Entry, windows: Iterable[Window]) -> None:
        """Keep a file in place of what is known of its path. `save` makes it last."""
        self.remove([entry.path])
        self._rows(f"INSERT INTO files({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", *astuple(entry))
        file = self._connection.last_insert_rowid()
        for window in windows:
            self._rows(
                "INSERT INTO windows(file, start, stop) VALUES (?, ?, ?)",
                file, window.start, window.stop,
            )  # fmt: skip
            row_id = self._connection.last_insert_rowid()
            stored = window.embedding.astype("<f4").tobytes()
            self._rows("INSERT INTO embeddings VALUES (?, ?)", row_id, stored)
            self._blocks.put(row_id, file, window.embedding)

    def remove(self, paths: Iterable[str]) -> None:
        """Forget these files. `save` makes it last."""
        self._begin()
        for path in paths:
            of_file = "file = (SELECT id FROM files WHERE path = ?)"
            windows = f"SELECT id FROM windows WHERE {of_file}"
            for (window,) in self._rows(windows, path):
                self._blocks.remove(window)
            self._rows(f"DELETE FROM embeddings WHERE id IN ({windows})", path)
            self._rows(f"DELETE FROM windows WHERE {of_file}", path)
            self._rows("DELETE FROM files WHERE path = ?", path)

    def save(self) -> None:
        """Make all that was put and removed last, in one step."""
        if self._connection.in_transaction:
            self._blocks.write()
            self._rows("COMMIT")

    def nearest(
        self, query: Float32, count: int, kind: Kind | None = None, within: str | None = None
    ) -> list[Match]:
        """The `count` files nearest to a normalised query (H,), by the cosine of their nearest
        window, best first; ties keep the order of paths.

        kind: only files of this modality. within: only files below this folder, relative to the
        index's, with slashes. UsageError: `count` is out of range. InputError: a query of another
        width, or a damaged index.
        """
        if not 1 <= count <= MAX_COUNT:
            raise UsageError(f"count of results is {count}, expected 1 to {MAX_COUNT}")
        if query.shape != (self.width,):
            raise InputError(
                f"query embedding of shape {query.shape}, the index has ({self.width},)"
            )
        self._blocks.write()
        windows, products = self._blocks.nearest(query, self._owners(kind, within))
        wanted = max(CANDIDATES, 4 * count)
        while True:
            near = windows[_largest(products, wanted)].tolist()
            found = self._best(self._rows(f"{STORED} ({','.join(map(str, near))})"), query)
            # the windows of one long file may be all of the nearest
            if len(found) >= count or wanted >= len(windows):
                return found[:count]
            wanted *= 4

    def _owners(self, kind: Kind | None, within: str | None) -> Int64 | None:
        """The files that may be found, ascending; None: all."""
        condition, values = _condition(kind, within)
        if not condition:
            return None
        rows = self._rows(f"SELECT id FROM files WHERE {condition}", *values)
        return np.sort(np.fromiter((file for (file,) in rows), np.int64, len(rows)))

    def _best(self, rows: Iterable[tuple[Any, ...]], query: Float32) -> list[Match]:
        """The nearest window of each file among these rows, best first."""
        best: dict[str, Match] = {}
        for path, kind, start, stop, blob in rows:
            self._check_file(path, kind)
            if not all(
                time is None or (isinstance(time, float) and math.isfinite(time))
                for time in (start, stop)
            ):
                raise InputError(f"{self.path}: a window from {start!a} to {stop!a}")
            cosine = float((self._embedding(blob) * query).sum())
            if path not in best or cosine > best[path].cosine:
                best[path] = Match(path, kind, cosine, start, stop)
        return sorted(best.values(), key=lambda match: (-match.cosine, match.path))

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        """A row of `files`. A stranger's table may hold anything in any column."""
        path, kind, *_ = row
        self._check_file(path, kind)
        if not isinstance(row[2], str) or not all(isinstance(number, int) for number in row[3:]):
            raise InputError(f"{self.path}: a row that is no file's")
        return Entry(*row)

    def _check_file(self, path: object, kind: object) -> None:
        if not isinstance(path, str) or kind not in MODALITIES:
            raise InputError(f"{self.path}: {kind!a} is no kind of media")
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\0" in path:
            raise InputError(f"{self.path}: a path that leaves the folder")

    def _embedding(self, blob: object) -> Float32:
        if not isinstance(blob, bytes) or len(blob) != 4 * self.width:
            size = len(blob) if isinstance(blob, bytes) else 0
            raise InputError(
                f"{self.path}: an embedding of {size} bytes, expected {4 * self.width}"
            )
        embedding = np.frombuffer(blob, "<f4").astype(np.float32)
        if not np.isfinite(embedding).all():
            raise InputError(f"{self.path}: embeddings that are not finite")
        return embedding

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._rows("BEGIN IMMEDIATE")

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with translated(self.path):
            return list(self._connection.execute(statement, values))


def open_table(path: Path, model: str, width: int | None = None) -> Table:
    """Open the index of a model, whose identity is `model`. With the `width` of the model's
    embeddings, an index that is absent is made.

    InputError: no such index, damaged, of an older version, or of another model. UsageError: it
    cannot be written, or another process writes it. MissingRuntimeError: the extra `search` is not
    installed.
    """
    connection, stored = open_database(path, model, width)
    return Table(path, connection, stored)


def _largest(values: Float32, count: int) -> Int64:
    """The places of the `count` largest values, or of all where there are fewer."""
    if count >= len(values):
        return np.arange(len(values))
    found: Int64 = np.argpartition(values, -count)[-count:]
    return found


def _condition(kind: Kind | None, within: str | None) -> tuple[str, list[object]]:
    """The SQL that chooses files, and its values."""
    parts, values = [], list[object]()
    if kind is not None:
        parts.append("kind = ?")
        values.append(kind)
    if within is not None and (folder := PurePosixPath(within).as_posix()) != ".":
        parts.append("path >= ? AND path < ?")  # "/" is followed by "0"
        values += [f"{folder}/", f"{folder}0"]
    return " AND ".join(parts), values
