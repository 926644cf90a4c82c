"""The operators that the Core ML export writes, in numpy, under the names and with the operands of
ML Programs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import numpy_dtype

Array = NDArray[Any]
Value = Any  # an array, a text, or a list of arrays where an operator takes several
# to 1e-12; beyond ±6 it is ±1 in double precision
_ERF: Final = Chebyshev.interpolate(np.vectorize(math.erf), 80, [-6.0, 6.0])
_CASTS: Final = {
    "fp32": "float32",
    "fp16": "float16",
    "int32": "int32",
    "int16": "int16",
    "uint16": "uint16",
    "bool": "bool",
}


def half(value: Array) -> Array:
    with np.errstate(over="ignore"):  # what overflows becomes infinite, as on the device
        return value.astype(np.float16)


def held_as(value: Array, dtype: str) -> Array:
    """A value as a program holds it in `dtype`."""
    if dtype == "float16":
        return half(value).astype(np.float32)
    return value.astype(numpy_dtype(dtype), copy=False)


def _only(name: str, found: object, expected: object) -> None:
    """InputError: the interpreter does not support an option."""
    if not np.array_equal(found, expected):  # type: ignore[arg-type]
        raise InputError(f"option {name} is {found}, only {expected} is known here")


def cast(x: Array, dtype: str) -> Array:
    if dtype not in _CASTS:
        raise InputError(f"option dtype is {dtype[:80]!r}, only {', '.join(_CASTS)} are known here")
    return held_as(np.trunc(x) if x.dtype.kind == "f" and "int" in dtype else x, _CASTS[dtype])


def gelu(x: Array, mode: str = "EXACT") -> Array:
    _only("mode", mode, "EXACT")
    return x * 0.5 * (1.0 + _ERF(np.clip(x / math.sqrt(2.0), -6.0, 6.0)))


def silu(x: Array) -> Array:
    with np.errstate(over="ignore"):
        found: Array = x / (1.0 + np.exp(-x))
    return found


def softmax(x: Array) -> Array:
    raised: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    share: Array = raised / raised.sum(axis=-1, keepdims=True)
    return share


def scaled_dot_product_attention(
    query: Array, key: Array, value: Array, attn_mask: Array | None = None
) -> Array:
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        scores = (
            np.where(attn_mask, scores, -np.inf)
            if attn_mask.dtype == np.bool_
            else scores + attn_mask
        )
    return softmax(scores) @ value


def layer_norm(x: Array, axes: Array, gamma: Array, beta: Array, epsilon: Array) -> Array:
    over = tuple(axes)
    centred = x - x.mean(axis=over, keepdims=True)
    normalised: Array = centred / np.sqrt(
        np.square(centred).mean(axis=over, keepdims=True) + epsilon
    )
    return normalised * gamma + beta


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    product = x @ weight.T
    return product if bias is None else product + bias


def matmul(x: Array, y: Array, transpose_x: Array, transpose_y: Array) -> Array:
    return (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)


def conv(
    x: Array,
    weight: Array,
    strides: Array,
    pad_type: str,
    pad: Array,
    dilations: Array,
    groups: Array,
    bias: Array | None = None,
) -> Array:
    """x (B,I,*S), weight (O,I,*K)."""
    _only("groups", groups, 1)
    _only("dilations", dilations, np.ones_like(dilations))
    axes = tuple(range(2, x.ndim))
    if pad_type == "custom":
        x = np.pad(x, [(0, 0), (0, 0), *(tuple(pair) for pair in pad.reshape(-1, 2))])
    else:
        _only("pad_type", pad_type, "valid")
    windows = sliding_window_view(x, weight.shape[2:], axes)  # type: ignore[call-overload]  # numpy's stub knows only one axis
    windows = windows[
        (slice(None), slice(None), *(slice(None, None, stride) for stride in strides))
    ]
    kernel = tuple(axis + len(axes) for axis in axes)
    found = np.moveaxis(np.tensordot(windows, weight, ((1, *kernel), (1, *axes))), -1, 1)
    return found if bias is None else found + bias.reshape(-1, *(1 for _ in axes))


def conv_transpose(
    x: Array,
    weight: Array,
    strides: Array,
    pad_type: str,
    pad: Array,
    dilations: Array,
    groups: Array,
    bias: Array | None = None,
) -> Array:
    """x (B,I,S), weight (I,O,K)."""
    _only("groups", groups, 1)
    _only("dilations", dilations, [1])
    stride, size, width = int(strides[0]), x.shape[2], weight.shape[2]
    pieces = np.tensordot(x, weight, ((1,), (0,)))  # (B,S,O,K)
    found = np.zeros((x.shape[0], weight.shape[1], (size - 1) * stride + width), np.float32)
    for place in range(width):
        found[:, :, place : place + (size - 1) * stride + 1 : stride] += pieces[
            ..., place
        ].swapaxes(1, 2)
    if pad_type == "custom":
        found = found[:, :, int(pad[0]) : found.shape[2] - int(pad[1])]
    else:
        _only("pad_type", pad_type, "valid")
    return found if bias is None else found + bias[:, None]


def slice_by_index(
    x: Array,
    begin: Array,
    end: Array,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    """A set mask bit ignores the bound, or takes one place and drops the axis."""

    def of(mask: Array | None, axis: int) -> bool:
        return mask is not None and bool(mask[axis])

    places: list[int | slice] = []
    for axis in range(x.ndim):
        first = None if of(begin_mask, axis) else int(begin[axis])
        last = None if of(end_mask, axis) else int(end[axis])
        places.append(int(begin[axis]) if of(squeeze_mask, axis) else slice(first, last))
    return x[tuple(places)]


def gather(
    x: Array, indices: Array, axis: Array, batch_dims: Array, validate_indices: Array
) -> Array:
    _only("batch_dims", batch_dims, 0)
    return np.take(x, indices, int(axis))


def concat(values: list[Array], axis: Array, interleave: Array) -> Array:
    _only("interleave", bool(interleave), False)
    return np.concatenate([np.atleast_1d(value) for value in values], int(axis))


def pad(x: Array, pad: Array, mode: str, constant_val: Array) -> Array:
    """The last axes, each (before, after)."""
    _only("mode", mode, "constant")
    pairs = [tuple(pair) for pair in pad.reshape(-1, 2)]
    return np.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs, constant_values=constant_val)


def split(x: Array, split_sizes: Array, axis: Array) -> list[Array]:
    return np.split(x, np.cumsum(split_sizes)[:-1], int(axis))


def pixel_shuffle(x: Array, upscale_factor: Array) -> Array:
    batch, _, height, width = x.shape
    r = int(upscale_factor)
    return (
        x.reshape(batch, -1, r, r, height, width)
        .transpose(0, 1, 4, 2, 5, 3)
        .reshape(batch, -1, height * r, width * r)
    )


def upsample_nearest_neighbor(
    x: Array, scale_factor_height: Array, scale_factor_width: Array
) -> Array:
    """x (B,C,h,w), each value repeated a whole number of times."""
    for axis, factor in ((2, scale_factor_height), (3, scale_factor_width)):
        _only("scale_factor", factor, int(factor))
        x = x.repeat(int(factor), axis=axis)
    return x


def real_div(x: Array, y: Array) -> Array:
    return x // y if x.dtype.kind == y.dtype.kind == "i" else x / y


def read_state(**given: Array) -> Array:
    return given["input"]


def reduced(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, axes, keep_dims: function(x, axis=tuple(axes), keepdims=bool(keep_dims))


def chosen(function: Callable[..., Any]) -> Callable[..., Array]:
    def place(x: Array, axis: Array, keep_dims: Array, output_dtype: str) -> Array:
        _only("output_dtype", output_dtype, "int32")
        return np.asarray(function(x, axis=int(axis), keepdims=bool(keep_dims)))

    return place


OPERATORS: Final[dict[str, Callable[..., Value]]] = {
    "abs": lambda x: np.abs(x),
    "add": lambda x, y: x + y,
    "cast": cast,
    "clip": lambda x, alpha, beta: np.clip(x, alpha, beta),
    "concat": concat,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "cos": lambda x: np.cos(x),
    "equal": lambda x, y: x == y,
    "expand_dims": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "fill_like": lambda ref_tensor, value: np.full(ref_tensor.shape, value),
    "floor": lambda x: np.floor(x),
    "floor_div": lambda x, y: np.floor_divide(x, y),
    "gather": gather,
    "gelu": gelu,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "layer_norm": layer_norm,
    "linear": linear,
    "matmul": matmul,
    "maximum": lambda x, y: np.maximum(x, y),
    "mul": lambda x, y: x * y,
    "pad": pad,
    "pixel_shuffle": pixel_shuffle,
    "pow": lambda x, y: np.power(x, y),
    "range_1d": lambda start, end, step: np.arange(start, end, step),
    "read_state": read_state,
    "real_div": real_div,
    "reduce_argmax": chosen(np.argmax),
    "reduce_argmin": chosen(np.argmin),
    "reduce_l2_norm": reduced(
        lambda x, axis, keepdims: np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims))
    ),
    "reduce_max": reduced(np.max),
    "reduce_mean": reduced(np.mean),
    "reduce_sum": reduced(np.sum),
    "reshape": lambda x, shape: x.reshape(tuple(shape)),
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "select": lambda cond, a, b: np.where(cond, a, b),
    "shape": lambda x: np.array(x.shape),
    "sign": lambda x: np.sign(x),
    "silu": silu,
    "sin": lambda x: np.sin(x),
    "slice_by_index": slice_by_index,
    "split": split,
    "sqrt": lambda x: np.sqrt(x),
    "square": lambda x: np.square(x),
    "squeeze": lambda x, axes: np.squeeze(x, tuple(axes)),
    "stack": lambda values, axis: np.stack(values, int(axis)),
    "sub": lambda x, y: x - y,
    "tile": lambda x, reps: np.tile(x, tuple(reps)),
    "transpose": lambda x, perm: x.transpose(tuple(perm)),
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
