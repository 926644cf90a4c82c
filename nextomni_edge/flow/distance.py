"""The metric table of one vocabulary and the distances between its symbols (METHOD 3)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from array_api_compat import array_namespace, device

from nextomni_edge.errors import InputError
from nextomni_edge.flow.arrays import CHUNK, Array, check_ids, chunks
from nextomni_edge.flow.row_cache import RowCache

if TYPE_CHECKING:
    from typing_extensions import Self

# |e_x − e_y|² below this is 0: |e_x − e_y| below 1e-7 is the rounding of float32 rows
SAME_ROW = 1e-14
NOT_FINITE = "metric table: holds a value that is not finite"


class MetricTable:
    """
    The rows e_x of V symbols (a text vocabulary, or one codebook of K) and their distances.

    `table` (V, D) float, numpy or torch, is L2-normalised here, row by row; a zero row stays zero.
    Everything else is computed in that array library, on that device. Norms and distances are
    accumulated in float64 and then rounded to float32. So neither the number of rows asked for at
    once nor the library's order of summation shifts them. Within `kept_bytes` the rows that `rows`
    gives are kept by id.
    """

    elements: ClassVar[int] = CHUNK  # of a pass over the table that are held in float64

    def __init__(self, table: Array, kept_bytes: int = 0) -> None:
        if table.ndim != 2 or 0 in table.shape:
            raise InputError(
                f"metric table: shape {tuple(table.shape)}, expected (vocabulary, dimensions),"
                " neither 0"
            )
        xp = array_namespace(table)
        if not bool(xp.all(xp.isfinite(table))):
            raise InputError(NOT_FINITE)
        self.table: Array = xp.empty(table.shape, dtype=xp.float32, device=device(table))
        # of the normalised rows, as float32 holds them
        self._squares: Array = xp.empty(table.shape[:1], dtype=xp.float64, device=device(table))
        for symbols in chunks(table.shape[0], table.shape[1]):
            block = xp.astype(table[symbols, :], xp.float64)
            norm = xp.sqrt(xp.sum(block * block, axis=1, keepdims=True))
            self.table[symbols, :] = xp.astype(
                block / xp.where(norm > 0.0, norm, xp.ones_like(norm)), xp.float32
            )
            rounded = xp.astype(self.table[symbols, :], xp.float64)
            self._squares[symbols] = xp.sum(rounded * rounded, axis=1)
        self._keep(kept_bytes)

    def _keep(self, kept_bytes: int) -> None:
        self.vocabulary: int = self.table.shape[0]
        self.kept = RowCache(self.distance, self.vocabulary, kept_bytes) if kept_bytes else None

    def rows(self, x_1: Array) -> Array:
        """`distance` of distinct ids, from the kept rows where they hold an id."""
        return self.kept(x_1) if self.kept else self.distance(x_1)

    def prefetch(self, x_1: Array) -> None:
        """Compute the missing rows of distinct ids together, in one pass over the table, if there
        is room to keep them."""
        if self.kept:
            self.kept.prefetch(x_1)

    def without_kept_rows(self) -> Self:
        """The same table; it computes every row again."""
        table = copy.copy(self)
        table.kept = None
        return table

    def between(self, x: Array, y: Array) -> Array:
        """d(x, y) of pairs: ids (N,) twice → (N,) float64, within 1e-6 of what `distance` rounds
        to."""
        xp = array_namespace(self.table)
        return xp.sum((self._units(x) - self._units(y)) ** 2, axis=1) ** 2

    def distance(self, x_1: Array) -> Array:
        """d(x, x_1) = (|e_x − e_x1|²)² for every symbol x: ids (N,) int64 → (N, V) float32, in [0,
        16]."""
        xp = array_namespace(self.table)
        check_ids(x_1, self.vocabulary, "x_1")
        rows = self._units(x_1)
        rows_square = xp.take(self._squares, x_1)[:, None]
        distance = xp.empty(
            (x_1.shape[0], self.vocabulary), dtype=xp.float32, device=device(self.table)
        )
        width = self.table.shape[1] + x_1.shape[0]
        for symbols in chunks(self.vocabulary, width, self.elements):
            squared = self._products(rows, symbols)
            squared *= -2.0
            squared += rows_square + self._squares[symbols][None, :]
            squared = xp.where(squared > SAME_ROW, squared, xp.zeros_like(squared))
            squared *= squared
            distance[:, symbols] = xp.astype(squared, xp.float32)
        return distance

    def _units(self, ids: Array) -> Array:
        """e_x of ids (n,): (n, D) float64."""
        xp = array_namespace(self.table)
        return xp.astype(xp.take(self.table, ids, axis=0), xp.float64)

    def _products(self, rows: Array, symbols: slice) -> Array:
        """Rows (n, D) float64 times e_x of some symbols: (n, symbols) float64."""
        xp = array_namespace(self.table)
        return rows @ xp.astype(self.table[symbols, :], xp.float64).T
