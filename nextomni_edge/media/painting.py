"""Which part of a picture is drawn again: a rectangle in its middle, in pixels and in codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]  # (width, height) in pixels
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rectangle:
    """Pixels from (left, top) up to, and without, (right, bottom)."""

    left: int
    top: int
    right: int
    bottom: int


def middle(size: Size, shares: tuple[float, float]) -> Rectangle:
    """The rectangle in the middle of a picture whose sides are these shares of the picture's,
    rounded to whole pixels."""
    width, height = (round(side * share) for side, share in zip(size, shares, strict=True))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return Rectangle(left, top, left + width, top + height)


def covered(rectangle: Rectangle, size: Size, grid: tuple[int, int]) -> Mask:
    """The codes (rows, columns) of which more than half is in the rectangle. A code stands for
    every pixel that it touches, as an average over areas counts them."""
    across = _shares(rectangle.left, rectangle.right, size[0], grid[1])
    down = _shares(rectangle.top, rectangle.bottom, size[1], grid[0])
    found: Mask = np.outer(down, across) > 0.5
    return found


def _shares(start: int, stop: int, pixels: int, count: int) -> NDArray[np.float64]:
    """Of each of `count` stretches of a side, the share that is in [start, stop)."""
    places = np.arange(count)
    first, last = places * pixels // count, -(-(places + 1) * pixels // count)
    inside = np.minimum(last, stop) - np.maximum(first, start)
    found: NDArray[np.float64] = np.maximum(inside, 0) / (last - first)
    return found
