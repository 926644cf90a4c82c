"""8-bit arrays, INT8 or E4M3: one scale per output channel, symmetric, so that a product of
matrices needs no correction for the weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle.quantised import QUANTISED, SCALE
from nextomni_edge.calibration.layers import Float, Weight
from nextomni_edge.calibration.recipes.parts import ErrorSum, Parts
from nextomni_edge.formats import float8


@dataclass(frozen=True)
class Grid:
    """The stored dtype of a channel's values: its largest magnitude becomes `largest`."""

    largest: np.float32
    dtype: type[np.generic]
    encode: Callable[[Float], NDArray[Any]]
    decode: Callable[[NDArray[Any]], Float]


INT8: Final = Grid(
    np.float32(127),  # −128 is not used: the range is the same on both sides of 0
    np.int8,
    lambda x: np.clip(np.rint(x), -127, 127).astype(np.int8),
    lambda q: q.astype(np.float32),
)
FLOAT8: Final = Grid(float8.LARGEST, np.uint8, float8.encode, float8.decode)
# Axes along which values share a scale; of a convolution, all but the first.
SUMMED: Final = {"matmul": (0,), "linear": (1,), "gather": (1,), "einsum": (1,)}


def quantise_channels(
    weight: Weight, factor: Float | None = None, grid: Grid = INT8
) -> tuple[Parts, float]:
    """Stored values (in the graph's layout) and scales of a layer, and ‖Ŵ − W‖ / ‖W‖. `factor`
    (in,) multiplies W first.

    The weight is read twice, in pieces.
    """
    scale = _scale(weight, factor, grid.largest)
    q, errors = np.empty(weight.shape, grid.dtype), ErrorSum(weight, factor)
    for start, piece in weight.pieces():
        rows = slice(start, start + len(piece))
        divisor = scale if scale.shape[0] == 1 else scale[rows]
        q[rows] = grid.encode(_multiplied(weight, piece, start, factor) / divisor)
        errors.add(start, piece, grid.decode(q[rows]) * divisor)
    stored = scale if weight.layer.operator == "einsum" else scale.reshape(-1)
    return {QUANTISED: q, SCALE: stored}, errors.relative()


def _scale(weight: Weight, factor: Float | None, largest: np.float32) -> Float:
    """Scales, float32, of the weight's rank; 1 where a channel is all zeros."""
    axes = SUMMED.get(weight.layer.operator, tuple(range(1, len(weight.shape))))
    peaks: list[NDArray[np.float32]] = []
    for start, piece in weight.pieces():
        peak = np.abs(_multiplied(weight, piece, start, factor)).max(axis=axes, keepdims=True)
        peaks = [np.maximum(peaks[0], peak)] if peaks and 0 in axes else [*peaks, peak]
    peak = np.concatenate(peaks)
    scale: Float = (np.where(peak > 0, peak, largest) / largest).astype(np.float32)
    return scale


def _multiplied(weight: Weight, piece: Float, start: int, factor: Float | None) -> Float:
    if factor is None:
        return piece
    by_row = factor[start : start + len(piece), None]
    found: Float = piece * (by_row if weight.layer.operator == "matmul" else factor)
    return found
