"""What is known of a value of an ONNX graph: its sizes over the points of a grid, and the numbers
that shapes are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import Attribute, Node

Sizes = NDArray[np.float64]  # one for each point of the grid, or one where they are the same at all
LARGEST: Final = 2.0**50  # of a size, and of a value's bytes: exact in float64
FLOAT, UINT8, INT32, INT64, BOOL = 1, 2, 6, 7, 9
INTEGERS: Final = frozenset({2, 3, 4, 5, 6, 7, 9, 12, 13})
WIDTHS: Final = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 17: 1, 21: 0.5, 22: 0.5}


@dataclass(frozen=True)
class Known:
    """A value: its element type, its dims, and of the numbers that a shape may be made of what they
    are, (n, points)."""

    element: int
    dims: tuple[Sizes, ...]
    content: Sizes | None = None

    def elements(self) -> Sizes:
        found: Sizes = np.ones(1)
        for dim in self.dims:
            found = found * dim
        return found

    def nbytes(self, count: int) -> Sizes:
        return np.broadcast_to(self.elements() * WIDTHS.get(self.element, 8), (count,))

    def whole(self, count: int) -> bool:
        """Whether every size is one."""
        return len(self.dims) <= 8 and all(
            ((dim >= 0) & (dim <= LARGEST)).all() for dim in (*self.dims, self.nbytes(count))
        )


Given = Sequence[Known | None]
Rule = Callable[[Node, Given], list[Known]]


def value_of(given: Given, index: int) -> Known:
    found = given[index]
    if found is None:
        raise InputError(f"input {index} is left out")
    return found


def optional(given: Given, index: int) -> Known | None:
    return given[index] if index < len(given) else None


def numbers(given: Given, index: int, what: str) -> Sizes:
    """Integers that the interface determines."""
    found = value_of(given, index).content
    if found is None:
        raise InputError(f"{what} that depends on more than the interface")
    return found


def constants(given: Given, index: int, what: str) -> list[int]:
    """Integers that are the same at every size."""
    found = numbers(given, index, what)
    if found.shape[1] != 1 and (found != found[:, :1]).any():
        raise InputError(f"{what} that depends on the sizes")
    return [int(number) for number in found[:, 0]]


def axis_of(axis: Attribute, rank: int) -> int:
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise InputError(f"axis {axis} of a value of rank {rank}")
    return axis % rank


def fit(one: Sizes, other: Sizes) -> Sizes:
    """A size of two that broadcast."""
    if not ((one == other) | (one == 1) | (other == 1)).all():
        raise InputError("shapes that do not fit each other")
    return np.where(one == 1, other, one)


def broadcast(*shapes: tuple[Sizes, ...]) -> tuple[Sizes, ...]:
    rank, ones = max(map(len, shapes)), (np.ones(1),)
    padded = [ones * (rank - len(shape)) + shape for shape in shapes]
    found = list(padded[0])
    for shape in padded[1:]:
        found = [fit(one, other) for one, other in zip(found, shape, strict=True)]
    return tuple(found)


def exact(content: Sizes | None) -> Sizes | None:
    if content is not None and not (np.abs(content) <= LARGEST).all():
        raise InputError(f"a size beyond {LARGEST:g}")
    return content
