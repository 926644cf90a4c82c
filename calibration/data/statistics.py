"""Statistics of a layer's input, accumulated sample by sample: ranges, magnitudes by channel, a
histogram, and the Hessian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
RangeMethod = Literal["minmax", "percentile", "mse"]

HALVES: Final = 2048  # bins of a histogram on either side of 0
PERCENTILE: Final = 0.9999  # of the values lie inside the range
SHRINKS: Final = 64  # ranges that are tried for the least squared error, from the whole one down
LEVELS: Final = 256  # of an 8-bit activation


class Histogram:
    """Counts of values in 2·HALVES equal bins over [−reach, reach]. reach is a power of two, so
    doubling it merges pairs of bins exactly. No value needs to be known in advance."""

    def __init__(self) -> None:
        self.reach = 0.0
        self.counts: NDArray[np.int64] = np.zeros(2 * HALVES, np.int64)

    def add(self, values: NDArray[Any]) -> None:
        """Values of any shape."""
        peak = float(np.abs(values).max(initial=0.0))
        self._widen(math.ldexp(1.0, math.frexp(peak)[1]) if peak > 0 else self.reach)
        if self.reach == 0:  # nothing but zeros so far
            self.counts[HALVES] += values.size
            return
        places = (
            np.floor(values.astype(np.float64).ravel() * (HALVES / self.reach)).astype(np.int64)
            + HALVES
        )
        self.counts += np.bincount(np.minimum(places, 2 * HALVES - 1), minlength=2 * HALVES)

    def centres(self) -> Float64:
        """The middle of each bin."""
        return np.arange(0.5 - HALVES, HALVES, dtype=np.float64) * (self.reach / HALVES)

    def _widen(self, reach: float) -> None:
        if self.reach == 0:
            self.reach = reach
        while self.reach < reach:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, HALVES // 2).astype(np.int64)
            self.reach *= 2


@dataclass
class BinStatistics:
    """One layer's input in one bin of the flow time: the number of `rows`, the range, the largest
    and the summed magnitude of each channel (in,) float64, and a histogram of all values."""

    absmax: Float64
    absum: Float64
    histogram: Histogram
    rows: int = 0
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def empty(cls, features: int) -> BinStatistics:
        return cls(np.zeros(features), np.zeros(features), Histogram())

    def add(self, x: NDArray[np.float32]) -> None:
        """Rows (n, in)."""
        magnitude = np.abs(x)
        self.rows += len(x)
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        np.maximum(self.absmax, magnitude.max(axis=0), out=self.absmax)
        self.absum += magnitude.sum(axis=0, dtype=np.float64)
        self.histogram.add(x)

    @property
    def absmean(self) -> Float64:
        """Mean magnitude per channel, (in,)."""
        return self.absum / self.rows

    def range(self, method: RangeMethod) -> tuple[float, float]:
        """(low, high) to quantise to: the whole range, the range of 99.99 % of the values, or the
        range of the least squared error."""
        if method == "minmax":
            return self.low, self.high
        if method == "percentile":
            return self._quantile(1 - PERCENTILE), self._quantile(PERCENTILE)
        shares = np.arange(SHRINKS, 0, -1) / SHRINKS
        best = shares[
            int(
                np.argmin(
                    [self._squared_error(self.low * share, self.high * share) for share in shares]
                )
            )
        ]
        return self.low * float(best), self.high * float(best)

    def _quantile(self, share: float) -> float:
        """The outer edge of the bin that the quantile falls into, within the range."""
        cumulative = np.cumsum(self.histogram.counts)
        place = int(np.searchsorted(cumulative, share * cumulative[-1]))
        edge = (
            self.histogram.centres()[place]
            + (0.5 if share > 0.5 else -0.5) * self.histogram.reach / HALVES
        )
        return float(np.clip(edge, self.low, self.high))

    def _squared_error(self, low: float, high: float) -> float:
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / (LEVELS - 1)
        if step == 0:
            return 0.0
        used = self.histogram.counts > 0
        centres = self.histogram.centres()[used]
        rounded = np.clip(np.rint((centres - low) / step), 0, LEVELS - 1) * step + low
        return float((self.histogram.counts[used] * (centres - rounded) ** 2).sum())


@dataclass
class LayerStatistics:
    """One layer's input in every bin of the flow time (one bin where t plays no part), and H =
    E[x·xᵀ] on request.

    H is (in, in) float64; for an einsum, one for each of its K matrices. A stratified set has
    equally many rows in every bin, so each bin counts the same.
    """

    bins: tuple[BinStatistics, ...]
    hessian: Float64 | None = None

    @property
    def seen(self) -> tuple[BinStatistics, ...]:
        """The bins that are not empty. Without any there is neither a range nor a magnitude."""
        return tuple(each for each in self.bins if each.rows)

    @property
    def absmax(self) -> Float64:
        """Largest magnitude per channel over all bins, (in,)."""
        found: Float64 = np.max([each.absmax for each in self.seen], axis=0)
        return found

    @property
    def absmean(self) -> Float64:
        """Mean magnitude per channel, (in,)."""
        found: Float64 = np.mean([each.absmean for each in self.seen], axis=0)
        return found

    def range(self, method: RangeMethod = "minmax") -> tuple[float, float]:
        """The widest of the bins' ranges: a static range must serve every t."""
        ranges = [each.range(method) for each in self.seen]
        return min(low for low, _ in ranges), max(high for _, high in ranges)
