"""Metric tables of many dimensions, such as a language model's own: nothing of their size is
computed before it is asked for, or copied (METHOD 3)."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.flow.arrays import CACHED, Array
from nextomni_edge.flow.distance import NOT_FINITE, MetricTable

WIDE: Final = 512  # dimensions from which normalised rows in memory cost more than they save


class WideTable(MetricTable):
    """
    A table (V, D) float32 in numpy, which may be mapped from a file.

    Rows e_x are normalised in float64 and never rounded to float32, as `MetricTable` stores them,
    so a distance differs from its by at most 1e-6. Each pass over the table converts as many rows
    to float64 as the processor's cache holds. The first pass also takes their norms, so that a load
    reads nothing. InputError: a row with a value that is not finite, when it is first read.
    """

    elements: ClassVar[int] = CACHED

    def __init__(self, table: NDArray[np.float32], kept_bytes: int = 0) -> None:
        self.table = table
        self._known = np.zeros(len(table), np.bool_)
        self._divisors = np.ones(len(table))
        self._squares = np.zeros(len(table))
        self._keep(kept_bytes)

    def _units(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        block = self.table[ids].astype(np.float64)
        self._measure(ids, block)
        return np.asarray(block / self._divisors[ids, None], np.float64)

    def _products(self, rows: NDArray[np.float64], symbols: slice) -> NDArray[np.float64]:
        block = self.table[symbols].astype(np.float64)
        self._measure(symbols, block)
        found: NDArray[np.float64] = rows @ block.T
        found /= self._divisors[symbols]
        return found

    def _measure(self, symbols: slice | NDArray[np.int64], block: NDArray[np.float64]) -> None:
        """Keep |x| of rows that were not read before. Threads may do so twice: they find the
        same."""
        if self._known[symbols].all():
            return
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        if not np.isfinite(norms).all():
            raise InputError(NOT_FINITE)
        # a zero row stays zero
        self._divisors[symbols] = np.where(norms > 0.0, norms, 1.0)
        self._squares[symbols] = norms > 0.0
        self._known[symbols] = True


def table_of(table: Array, kept_bytes: int = 0) -> MetricTable:
    """The metric table of these rows, in the form that computes fastest here. InputError as
    `MetricTable`'s; of a wide table, a value that is not finite is found when it is first read."""
    fits = isinstance(table, np.ndarray) and table.dtype == np.float32 and table.ndim == 2
    if fits and len(table) and table.shape[1] >= WIDE:
        return WideTable(table, kept_bytes)
    return MetricTable(table, kept_bytes)
