"""INT8 copies of an index's embeddings, packed in blocks: a query reads all of them, and a row of
SQLite for each would cost more than its product.

Window n lies in block n // slots at the place n % slots. There `files` has the file that owns it (0
is an empty place), and scale · codes is its embedding, rounded. Blocks only choose candidates: what
is shown comes from the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.search.database import translated

if TYPE_CHECKING:
    import apsw

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

BYTES: Final = 2**16  # of INT8 rows: larger blocks gain little, and the smallest index has one
LARGEST: Final = 127  # of a code


class Blocks:
    """The blocks of one index of embeddings of `width` numbers."""

    def __init__(self, path: Path, connection: apsw.Connection, width: int) -> None:
        self._path, self._connection, self._width = path, connection, width
        self._slots = slots = max(1, BYTES // width)
        self._sizes = (8 * slots, 4 * slots, width * slots)  # bytes of files, scales and codes
        self._changes: dict[int, dict[int, tuple[int, Float32 | None]]] = {}

    def put(self, window: int, file: int, embedding: Float32) -> None:
        """Keep a window's embedding (H,). `write` makes it so."""
        self._change(window, file, embedding)

    def remove(self, window: int) -> None:
        """Empty a window's place. `write` makes it so."""
        self._change(window, 0, None)

    def _change(self, window: int, file: int, embedding: Float32 | None) -> None:
        block, place = divmod(window, self._slots)
        self._changes.setdefault(block, {})[place] = (file, embedding)

    def write(self) -> None:
        """Write the blocks that have changed, and forget those that are empty. InputError: a
        damaged block."""
        for block, places in self._changes.items():
            found = list(self._rows("WHERE id = ?", block))
            files, scales, codes = (
                np.array(part) for part in (found[0][1:] if found else self._empty())
            )
            for place, (file, embedding) in places.items():
                files[place] = file
                if embedding is not None:
                    codes[place], scales[place] = rounded(embedding)
            stored = (block, files.tobytes(), scales.tobytes(), codes.tobytes())
            with translated(self._path):
                if files.any():
                    self._connection.execute("REPLACE INTO blocks VALUES (?, ?, ?, ?)", stored)
                else:
                    self._connection.execute("DELETE FROM blocks WHERE id = ?", (block,))
        self._changes.clear()

    def _empty(self) -> tuple[Int64, Float32, NDArray[np.int8]]:
        return self._parts(*map(bytes, self._sizes))

    def nearest(self, query: Float32, owners: Int64 | None) -> tuple[Int64, Float32]:
        """The windows of the files `owners`, ascending, or of all (None), and about their products
        with a query (H,). InputError: a damaged block."""
        windows, products = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for block, files, scales, codes in self._rows():
            chosen = files > 0 if owners is None else _among(files, owners)
            if not chosen.all():
                scales, codes = scales[chosen], codes[chosen]
            windows.append(np.flatnonzero(chosen) + block * self._slots)
            products.append(codes.astype(np.float32) @ query * scales)
        return np.concatenate(windows), np.concatenate(products)

    def _rows(
        self, condition: str = "", *values: int
    ) -> Iterator[tuple[int, Int64, Float32, NDArray[np.int8]]]:
        asked = f"SELECT id, files, scales, codes FROM blocks {condition}"
        with translated(self._path):
            for block, *parts in self._connection.execute(asked, values):
                sizes = tuple(len(part) if isinstance(part, bytes) else 0 for part in parts)
                if sizes != self._sizes:
                    raise InputError(f"{self._path}: a block of {sizes} bytes")
                files, scales, codes = self._parts(*parts)
                if not np.isfinite(scales).all():
                    raise InputError(f"{self._path}: a block whose scales are not finite")
                yield block, files, scales, codes

    def _parts(
        self, files: bytes, scales: bytes, codes: bytes
    ) -> tuple[Int64, Float32, NDArray[np.int8]]:
        """The arrays of a block's columns."""
        return (
            np.frombuffer(files, "<i8"),
            np.frombuffer(scales, "<f4"),
            np.frombuffer(codes, np.int8).reshape(self._slots, self._width),
        )


def rounded(embedding: Float32) -> tuple[NDArray[np.int8], Float32]:
    """An embedding (H,) as INT8 codes and the scale that widens them, by its largest component."""
    scale = np.maximum(np.abs(embedding).max(), np.finfo(np.float32).tiny) / LARGEST
    codes: NDArray[np.int8] = np.rint(embedding / scale).astype(np.int8)
    return codes, np.asarray(scale, "<f4")


def _among(files: Int64, owners: Int64) -> NDArray[np.bool_]:
    """Which of `files` are in `owners`, which ascend."""
    if not owners.size:
        return np.zeros(files.shape, np.bool_)
    places = np.minimum(np.searchsorted(owners, files), owners.size - 1)
    found: NDArray[np.bool_] = owners[places] == files
    return found
