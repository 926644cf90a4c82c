"""The metric-induced probability path p_t(x | x_1) = softmax_x(−beta_t·d(x, x_1)) over one
vocabulary (METHOD 3)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from array_api_compat import array_namespace, device

from nextomni_edge.errors import InputError
from nextomni_edge.flow.row_cache import RowCache
from nextomni_edge.flow.schedule import Array, MetricSchedule

# elements of a float64 temporary (8 MiB): bounds the memory of every pass over a vocabulary
CHUNK = 1 << 20
# elements of a float64 temporary that passes over it find in a processor's cache (1 MiB)
CACHED = 1 << 17
# stands for beta_1 = inf, whose product with d = 0 would be NaN; exp(-1e30·d) is 0 for every d >
# 1e-27
LARGEST_BETA = 1e30
# |e_x − e_y|² under this is 0: |e_x − e_y| under 1e-7 is the rounding of float32 rows, not a
# distance
SAME_ROW = 1e-14


class MetricPath:
    """
    The path of one vocabulary of V symbols (a text vocabulary, or one codebook of K).

    `table` (V, D) float, numpy or torch, is the metric table; its rows are L2-normalised here, a
    zero row stays zero. Everything else is computed in that array library, on that device. Norms
    and distances are accumulated in float64 and then rounded to float32, so that neither the number
    of rows asked for at once nor the library's order of summation shifts them. Within `kept_bytes`
    the rows that `rows` gives are kept by id.
    """

    def __init__(self, table: Array, schedule: MetricSchedule, kept_bytes: int = 0) -> None:
        if table.ndim != 2 or 0 in table.shape:
            raise InputError(
                f"metric table: shape {tuple(table.shape)}, expected (vocabulary, dimensions),"
                " neither 0"
            )
        xp = array_namespace(table)
        if not bool(xp.all(xp.isfinite(table))):
            raise InputError("metric table: holds a value that is not finite")
        self.table: Array = xp.empty(table.shape, dtype=xp.float32, device=device(table))
        # of the rows as they are kept
        self._squares: Array = xp.empty(table.shape[:1], dtype=xp.float64, device=device(table))
        for symbols in chunks(table.shape[0], table.shape[1]):
            block = xp.astype(table[symbols, :], xp.float64)
            norm = xp.sqrt(xp.sum(block * block, axis=1, keepdims=True))
            self.table[symbols, :] = xp.astype(
                block / xp.where(norm > 0.0, norm, xp.ones_like(norm)), xp.float32
            )
            kept = xp.astype(self.table[symbols, :], xp.float64)
            self._squares[symbols] = xp.sum(kept * kept, axis=1)
        self.schedule = schedule
        self.vocabulary: int = table.shape[0]
        self.kept = RowCache(self.distance, self.vocabulary, kept_bytes) if kept_bytes else None

    def rows(self, x_1: Array) -> Array:
        """`distance` of distinct ids, out of what is kept where it can be."""
        return self.kept(x_1) if self.kept else self.distance(x_1)

    def prefetch(self, x_1: Array) -> None:
        """Compute the rows of distinct ids together where they can be kept: one pass over the table
        for all."""
        if self.kept:
            self.kept.prefetch(x_1)

    def without_kept_rows(self) -> MetricPath:
        """The same path, every row computed anew."""
        path = copy.copy(self)
        path.kept = None
        return path

    def between(self, x: Array, y: Array) -> Array:
        """d(x, y) of pairs: ids (N,) twice → (N,) float64, within 1e-6 of what `distance` rounds
        to."""
        xp = array_namespace(self.table)
        rows = [xp.astype(xp.take(self.table, ids, axis=0), xp.float64) for ids in (x, y)]
        return xp.sum((rows[0] - rows[1]) ** 2, axis=1) ** 2

    def distance(self, x_1: Array) -> Array:
        """d(x, x_1) = (|e_x − e_x1|²)² for every symbol x: ids (N,) int64 → (N, V) float32, in [0,
        16]."""
        xp = array_namespace(self.table)
        self.check_ids(x_1, "x_1")
        rows = xp.astype(xp.take(self.table, x_1, axis=0), xp.float64)
        rows_square = xp.take(self._squares, x_1)[:, None]
        distance = xp.empty(
            (x_1.shape[0], self.vocabulary), dtype=xp.float32, device=device(self.table)
        )
        for symbols in chunks(self.vocabulary, self.table.shape[1] + x_1.shape[0]):
            block = xp.astype(self.table[symbols, :], xp.float64)
            squared = rows @ block.T
            squared *= -2.0
            squared += rows_square + self._squares[symbols][None, :]
            squared = xp.where(squared > SAME_ROW, squared, xp.zeros_like(squared))
            squared *= squared
            distance[:, symbols] = xp.astype(squared, xp.float32)
        return distance

    def log_probability(self, x_1: Array, t: float | Array) -> Array:
        """log p_t(x | x_1): ids (N,) and a time or times (N,) → (N, V) float32, finite also at t =
        1."""
        return self._rows(x_1, t, logarithm=True)

    def probability(self, x_1: Array, t: float | Array) -> Array:
        """p_t(x | x_1): ids (N,) and a time or times (N,) → (N, V) float32; symbols at distance 0
        share the mass at t = 1."""
        return self._rows(x_1, t, logarithm=False)

    def sample(self, x_1: Array, t: float | Array, uniform: Array) -> Array:
        """x_t ~ p_t(· | x_1) by inverse CDF in order of id: x_1, `uniform` in [0, 1) (N,) → ids
        (N,) int64."""
        xp = array_namespace(self.table)
        beta = self._beta(t, x_1.shape[0])
        x_t = xp.empty_like(x_1)
        for rows in chunks(x_1.shape[0], self.vocabulary):
            weight = boltzmann(self.distance(x_1[rows]), beta[rows])
            x_t[rows] = inverse_cdf(weight, uniform[rows])
        return x_t

    def check_ids(self, ids: Array, name: str) -> None:
        """InputError unless every id of `ids` is a symbol: a negative index would wrap around in
        silence."""
        if not ids.shape[0]:
            return
        lowest, highest = int(ids.min()), int(ids.max())
        if lowest < 0 or highest >= self.vocabulary:
            raise InputError(
                f"{name}: ids {lowest} to {highest}, expected 0 to {self.vocabulary - 1}"
            )

    def _rows(self, x_1: Array, t: float | Array, logarithm: bool) -> Array:
        xp = array_namespace(self.table)
        beta = self._beta(t, x_1.shape[0])
        out = xp.empty((x_1.shape[0], self.vocabulary), dtype=xp.float32, device=device(self.table))
        for rows in chunks(x_1.shape[0], self.vocabulary):
            distance = self.distance(x_1[rows])
            weight = boltzmann(distance, beta[rows])
            total = xp.sum(weight, axis=1, keepdims=True)
            if logarithm:
                out[rows, :] = xp.astype(
                    -beta[rows][:, None] * nearest_gap(distance) - xp.log(total), xp.float32
                )
            else:
                out[rows, :] = xp.astype(weight / total, xp.float32)
        return out

    def _beta(self, t: float | Array, rows: int) -> Array:
        """beta_t per row, (N,) float64, finite."""
        xp = array_namespace(self.table)
        beta = self.schedule.beta(t)
        where = {"dtype": xp.float64, "device": device(self.table)}
        if isinstance(beta, float):
            return xp.full((rows,), min(beta, LARGEST_BETA), **where)
        if tuple(beta.shape) != (rows,):
            raise InputError(
                f"t: shape {tuple(beta.shape)}, expected a number or ({rows},), one time per row"
            )
        return xp.minimum(beta, xp.full((rows,), LARGEST_BETA, **where))


def nearest_gap(distance: Array) -> Array:
    """d(x) − min d, (N, V) → float64: the largest exponent −beta·gap of a row is 0, so no row of
    exponentials vanishes."""
    xp = array_namespace(distance)
    distance = xp.astype(distance, xp.float64)
    distance -= xp.min(distance, axis=1, keepdims=True)
    return distance


def boltzmann(distance: Array, beta: Array) -> Array:
    """exp(−beta·(d − min d)), unnormalised: (N, V) float32, beta (N,) → (N, V) float64, the largest
    1."""
    xp = array_namespace(distance)
    exponent = nearest_gap(distance)
    exponent *= -beta[:, None]
    return xp.exp(exponent)


def inverse_cdf(weight: Array, uniform: Array) -> Array:
    """The symbol x with CDF(x−1) ≤ uniform·total < CDF(x): weights (N, V) float64, uniform (N,) in
    [0, 1) → (N,) int64."""
    xp = array_namespace(weight)
    cumulative = xp.cumulative_sum(weight, axis=1)
    total = cumulative[:, -1:]
    ids = xp.sum(
        xp.astype(cumulative <= xp.astype(uniform, xp.float64)[:, None] * total, xp.int64), axis=1
    )
    # a uniform that a cast to float32 rounded up to 1: the last symbol with mass is meant
    if bool(xp.any(ids == weight.shape[1])):
        ids = xp.minimum(ids, xp.sum(xp.astype(cumulative < total, xp.int64), axis=1))
    return ids


def chunks(length: int, width: int, elements: int | None = None) -> Iterator[slice]:
    """Slices of `length` rows, each as many rows as `width` elements a row leave room for within
    `elements`, CHUNK by default."""
    size = max(1, (elements or CHUNK) // width)
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
