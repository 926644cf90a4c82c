"""Metric tables of many dimensions, such as a language model's own: nothing of their size is
computed before it is asked for, or copied (METHOD 3)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.flow.arrays import CACHED, Array, chunks
from nextomni_edge.flow.distance import MetricTable

WIDE: Final = 512  # dimensions from which normalised rows in memory cost more than they save
NORMALISERS: Final = 2  # threads that read the table: more wait for the memory


class WideTable(MetricTable):
    """
    A table (V, D) float32 in numpy, which may be mapped from a file.

    Rows e_x are normalised in float64 and never rounded to float32, as `MetricTable` stores them,
    so a distance differs from its by at most 1e-6. Each pass over the table converts as many rows
    to float64 as the processor's cache holds.
    """

    elements: ClassVar[int] = CACHED

    def __init__(
        self, table: NDArray[np.float32], norms: NDArray[np.float64], kept_bytes: int = 0
    ) -> None:
        """`norms` (V,) of the rows, finite."""
        self.table = table
        # a zero row stays zero
        self._divisors = np.where(norms > 0.0, norms, 1.0)
        self._squares = (norms > 0.0).astype(np.float64)
        self._keep(kept_bytes)

    def _units(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.table[ids] / self._divisors[ids, None], np.float64)

    def _products(self, rows: NDArray[np.float64], symbols: slice) -> NDArray[np.float64]:
        found: NDArray[np.float64] = rows @ self.table[symbols].astype(np.float64).T
        found /= self._divisors[symbols]
        return found


def norms_of(table: NDArray[np.float32]) -> NDArray[np.float64]:
    """|x| of rows (V, D): (V,) float64, infinite or NaN where a value is."""
    squares = np.empty(len(table))

    def fill(symbols: slice) -> None:
        block = table[symbols].astype(np.float64)
        squares[symbols] = np.einsum("ij,ij->i", block, block)

    with ThreadPoolExecutor(NORMALISERS) as pool:
        for _ in pool.map(fill, chunks(len(table), table.shape[1], CACHED)):
            pass
    return np.sqrt(squares)


def table_of(table: Array, kept_bytes: int = 0) -> MetricTable:
    """The metric table of these rows, in the form that computes fastest here. InputError as
    `MetricTable`'s."""
    fits = isinstance(table, np.ndarray) and table.dtype == np.float32 and table.ndim == 2
    if fits and len(table) and table.shape[1] >= WIDE:
        norms = norms_of(table)
        if np.isfinite(norms).all():
            return WideTable(table, norms, kept_bytes)
    return MetricTable(table, kept_bytes)
