"""The result of quantising a layer: its stored parts, and their error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.calibration.layers import Float, Weight

Parts = dict[str, NDArray[Any]]  # by the names of bundle/quantised.py


class ErrorSum:
    """‖Ŵ − W‖ / ‖W‖ summed over pieces. Ŵ is divided by `factor` (in,) where W was multiplied by
    it."""

    def __init__(self, weight: Weight, factor: Float | None) -> None:
        self._weight, self._factor = weight, factor
        self._error = self._norm = 0.0

    def add(self, start: int, piece: Float, found: Float) -> None:
        """Rows of the weight from `start` on, in the graph's layout, and their quantised values."""
        if self._factor is not None:
            by_row = self._factor[start : start + len(piece), None]
            found = found / (by_row if self._weight.layer.operator == "matmul" else self._factor)
        difference = (found - piece).ravel()
        self._error += float(np.dot(difference, difference))
        self._norm += float(np.dot(piece.ravel(), piece.ravel()))

    def relative(self) -> float:
        """0 for a weight of zeros."""
        return math.sqrt(self._error / self._norm) if self._norm else 0.0
