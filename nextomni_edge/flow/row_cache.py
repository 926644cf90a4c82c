"""Rows of distances kept by the id of x_1, which is all that a row depends on (METHOD 6)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from array_api_compat import array_namespace, device

from nextomni_edge.flow.arrays import Array


class RowCache:
    """
    The rows (V,) float32 of the ids asked for last, within `nbytes`; exact, and safe to share
    between threads.

    `compute` gives the rows (n, V) of ids (n,). More ids at once than fit are computed and not
    kept.
    """

    def __init__(self, compute: Callable[[Array], Array], vocabulary: int, nbytes: int) -> None:
        self._compute, self._capacity = compute, min(vocabulary, nbytes // (4 * vocabulary))
        # id → row of the store, the oldest first
        self._slots: OrderedDict[int, int] = OrderedDict()
        self._store: Array = None
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def __call__(self, ids: Array) -> Array:
        """Rows (n, V) of distinct ids (n,), a copy."""
        if ids.shape[0] > self._capacity:
            return self._compute(ids)
        xp = array_namespace(ids)
        with self._lock:
            slots = self._fill(ids)
            return xp.take(self._store, xp.asarray(slots, device=device(ids)), axis=0)

    def prefetch(self, ids: Array) -> None:
        """Compute what is missing of distinct ids (n,) at once; of more than fit, none."""
        if 0 < ids.shape[0] <= self._capacity:
            with self._lock:
                self._fill(ids)

    def _fill(self, ids: Array) -> list[int]:
        """Where the rows of these ids stand, once those missing are computed in place of the
        oldest."""
        xp, where = array_namespace(ids), device(ids)
        wanted = ids.tolist()
        missing = [place for place, known in enumerate(wanted) if known not in self._slots]
        self.hits, self.misses = self.hits + len(wanted) - len(missing), self.misses + len(missing)
        for known in wanted:
            if known in self._slots:
                self._slots.move_to_end(known)
        if missing:
            rows = self._compute(xp.take(ids, xp.asarray(missing, device=where)))
            if self._store is None:  # the system commits its pages as they are written
                self._store = xp.empty(
                    (self._capacity, rows.shape[1]), dtype=rows.dtype, device=where
                )
            for row, place in enumerate(missing):
                slot = (
                    len(self._slots)
                    if len(self._slots) < self._capacity
                    else self._slots.popitem(last=False)[1]
                )
                self._slots[wanted[place]] = slot
                self._store[slot, :] = rows[row, :]
        return [self._slots[known] for known in wanted]
