"""How many values an operator would compute, known from its operands: a stranger's program is
refused before numpy allocates them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from nextomni_edge.errors import InputError

Operands = Mapping[str, Any]  # an array, a text, or a list of arrays
# Bytes of one result, next to four times what the program is given and holds. FUDOKI's decoder of
# 384 x 384 pixels computes 0.3 GB at once.
MOST: Final = 2**28
# Times that all values together, or the windows of a convolution, may exceed one result.
TOGETHER: Final = 4
_VALUE: Final = 4  # bytes


def check_size(operator: str, given: Operands, most: int) -> None:
    """InputError: the operator would compute more than `most` bytes."""
    size = _VALUE * SIZES.get(operator, _together)(given)
    most *= TOGETHER if operator.startswith("conv") else 1
    if size > most:
        raise InputError(f"{size} bytes of values, at most {most} are computed")


def _shapes(given: Operands) -> list[tuple[int, ...]]:
    each = (
        one for value in given.values() for one in (value if isinstance(value, list) else [value])
    )
    return [one.shape for one in each if isinstance(one, np.ndarray)]


def _together(given: Operands) -> int:
    """All operands laid on one another from the last axis on: numpy's broadcasting, at most."""
    shapes = _shapes(given)
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return math.prod(max(sizes) for sizes in zip(*padded, strict=True))


def _sum(given: Operands) -> int:
    return sum(map(math.prod, _shapes(given)))


def _matmul(given: Operands) -> int:
    x, y = given["x"], given["y"]
    rows, columns = (
        x.shape[-1 if given["transpose_x"] else -2],
        y.shape[-2:][0 if given["transpose_y"] else 1],
    )
    return int(_together({"x": x[..., 0, 0], "y": y[..., 0, 0]}) * rows * columns)


def _linear(given: Operands) -> int:
    return int(math.prod(given["x"].shape[:-1]) * given["weight"].shape[0])


def _scores(given: Operands) -> int:
    query, key = given["query"], given["key"]
    batch = _together({"query": query[..., 0, 0], "key": key[..., 0, 0]})
    return int(batch * query.shape[-2] * max(key.shape[-2], query.shape[-1]))


def _tile(given: Operands) -> int:
    return int(given["x"].size) * math.prod(map(abs, map(int, given["reps"])))


def _range(given: Operands) -> int:
    return int(abs(float(given["end"]) - float(given["start"])) / abs(float(given["step"]))) + 1


def _pad(given: Operands) -> int:
    x, pairs = given["x"], given["pad"].reshape(-1, 2)
    more = [0] * (x.ndim - len(pairs)) + [int(pair.sum()) for pair in pairs]
    return math.prod(size + extra for size, extra in zip(x.shape, more, strict=True))


def _gather(given: Operands) -> int:
    x = given["x"]
    return int(given["indices"].size * x.size // max(1, x.shape[int(given["axis"])]))


def _upsample(given: Operands) -> int:
    factors = (given["scale_factor_height"], given["scale_factor_width"])
    return int(given["x"].size) * math.prod(map(abs, map(int, factors)))


def _conv(given: Operands) -> int:
    """The windows, every one with a kernel's size of values."""
    x, weight = given["x"], given["weight"]
    room = [int(pair.sum()) for pair in given["pad"].reshape(-1, 2)]
    places = math.prod(size + more for size, more in zip(x.shape[2:], room, strict=True))
    return int(x.shape[0] * places * math.prod(weight.shape[1:]))


def _conv_transpose(given: Operands) -> int:
    x, weight = given["x"], given["weight"]
    stride = abs(int(given["strides"][0]))
    long = x.shape[2] * max(stride, 1) + weight.shape[2]
    return int(x.shape[0] * weight.shape[1] * max(long, x.shape[2] * weight.shape[2]))


SIZES: Final[Mapping[str, Callable[[Operands], int]]] = {
    "concat": _sum,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "gather": _gather,
    "linear": _linear,
    "matmul": _matmul,
    "pad": _pad,
    "range_1d": _range,
    "scaled_dot_product_attention": _scores,
    "stack": _sum,
    "tile": _tile,
    "upsample_nearest_neighbor": _upsample,
}
