"""What each operator does to shapes: one function per operator of operators.py whose output is not
of its first input's shape. Sizes are arrays over the points of a grid, of one value where they are
the same at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import Attribute, Node

Sizes = NDArray[np.float64]
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


def same(node: Node, given: Given) -> list[Known]:
    """One output, shaped as the first input."""
    return [Known(_value(given, 0).element, _value(given, 0).dims)]


def _value(given: Given, index: int) -> Known:
    found = given[index]
    if found is None:
        raise InputError(f"input {index} is left out")
    return found


def _optional(given: Given, index: int) -> Known | None:
    return given[index] if index < len(given) else None


def _content(given: Given, index: int, what: str) -> Sizes:
    """Integers that are known from the interface alone."""
    found = _value(given, index).content
    if found is None:
        raise InputError(f"{what} that depends on more than the interface")
    return found


def _constants(given: Given, index: int, what: str) -> list[int]:
    """Integers that are the same at every size."""
    found = _content(given, index, what)
    if found.shape[1] != 1 and (found != found[:, :1]).any():
        raise InputError(f"{what} that depends on the sizes")
    return [int(number) for number in found[:, 0]]


def _axis(axis: Attribute, rank: int) -> int:
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise InputError(f"axis {axis} of a value of rank {rank}")
    return axis % rank


def _fit(one: Sizes, other: Sizes) -> Sizes:
    """A size of two that broadcast."""
    if not ((one == other) | (one == 1) | (other == 1)).all():
        raise InputError("shapes that do not fit each other")
    return np.where(one == 1, other, one)


def _broadcast(*shapes: tuple[Sizes, ...]) -> tuple[Sizes, ...]:
    rank, ones = max(map(len, shapes)), (np.ones(1),)
    padded = [ones * (rank - len(shape)) + shape for shape in shapes]
    found = list(padded[0])
    for shape in padded[1:]:
        found = [_fit(one, other) for one, other in zip(found, shape, strict=True)]
    return tuple(found)


def _arithmetic(node: Node, given: Given) -> list[Known]:
    one, other = _value(given, 0), _value(given, 1)
    if node.operator in ("Div", "Pow") and {one.element, other.element} & INTEGERS:
        raise InputError("of integers, expected floating point")
    dims, content = _broadcast(one.dims, other.dims), None
    if one.content is not None and other.content is not None and len(dims) <= 1:
        if node.operator == "Add":
            content = one.content + other.content
        elif node.operator == "Mul":
            content = one.content * other.content
    return [Known(one.element, dims, _exact(content))]


def _exact(content: Sizes | None) -> Sizes | None:
    if content is not None and not (np.abs(content) <= LARGEST).all():
        raise InputError(f"a size beyond {LARGEST:g}")
    return content


def _cast(node: Node, given: Given) -> list[Known]:
    return [Known(FLOAT, _value(given, 0).dims, _value(given, 0).content)]


def _shape(node: Node, given: Given) -> list[Known]:
    dims = _value(given, 0).dims
    start, end = node.attributes.get("start", 0), node.attributes.get("end", len(dims))
    if not isinstance(start, int) or not isinstance(end, int):
        raise InputError("axes that are no whole numbers")
    taken = dims[start:end]
    count = max((len(dim) for dim in taken), default=1)
    content = np.array([np.broadcast_to(dim, (count,)) for dim in taken]).reshape(-1, count)
    return [Known(INT64, (np.full(1, len(taken), float),), content)]


def _concat(node: Node, given: Given) -> list[Known]:
    values = [_value(given, index) for index in range(len(given))]
    first, axis = values[0], _axis(node.attributes["axis"], len(values[0].dims))
    total: Sizes = np.zeros(1)
    for value in values:
        rest = zip(value.dims, first.dims, strict=True)
        if not all(np.all(own == of) for n, (own, of) in enumerate(rest) if n != axis):
            raise InputError("shapes that do not fit each other")
        total = total + value.dims[axis]
    contents = [value.content for value in values if value.content is not None]
    content = None
    if len(contents) == len(values) and len(first.dims) == 1:
        count = max(part.shape[1] for part in contents)
        content = np.concatenate([np.broadcast_to(c, (len(c), count)) for c in contents])
    return [Known(first.element, (*first.dims[:axis], total, *first.dims[axis + 1 :]), content)]


def _expand(node: Node, given: Given) -> list[Known]:
    value, shape = _value(given, 0), _content(given, 1, "a shape")
    return [Known(value.element, _broadcast(value.dims, tuple(shape)))]


def _reshape(node: Node, given: Given) -> list[Known]:
    value, shape = _value(given, 0), _content(given, 1, "a shape")
    if (shape < -1).any() or (shape == -1).sum(axis=0).max(initial=0) > 1:
        raise InputError("a shape with sizes below 0")
    dims, free = list[Sizes](), None
    for axis, size in enumerate(shape):
        if (size == -1).all():
            free, size = axis, np.ones(1)
        elif (size == 0).all() and not node.attributes.get("allowzero"):
            size = value.dims[axis]
        elif (size <= 0).any() and not (size == 0).all() and (size == -1).any():
            raise InputError("a shape that is free at some sizes only")
        dims.append(size)
    total, others = value.elements(), Known(1, tuple(dims)).elements()
    if free is not None:
        if (others == 0).any():
            raise InputError("a shape of 0 next to a free size")
        dims[free] = total / others
        if (dims[free] != np.floor(dims[free])).any():
            raise InputError("a shape that does not hold its values")
    elif (total != others).any():
        raise InputError("a shape that does not hold its values")
    content = value.content if len(dims) <= 1 else None
    return [Known(value.element, tuple(dims), content)]


def _squeeze(node: Node, given: Given) -> list[Known]:
    value = _value(given, 0)
    if _optional(given, 1) is None:
        axes = {axis for axis, dim in enumerate(value.dims) if (dim == 1).all()}
    else:
        axes = {_axis(axis, len(value.dims)) for axis in _constants(given, 1, "axes")}
    if any((value.dims[axis] != 1).any() for axis in axes):
        raise InputError("an axis of more than 1")
    dims = tuple(dim for axis, dim in enumerate(value.dims) if axis not in axes)
    return [Known(value.element, dims, value.content if len(dims) <= 1 else None)]


def _unsqueeze(node: Node, given: Given) -> list[Known]:
    value, asked = _value(given, 0), _constants(given, 1, "axes")
    rank = len(value.dims) + len(asked)
    axes, left = {_axis(axis, rank) for axis in asked}, iter(value.dims)
    if len(axes) != len(asked):
        raise InputError("an axis twice")
    dims = tuple(np.ones(1) if axis in axes else next(left) for axis in range(rank))
    return [Known(value.element, dims, value.content if rank <= 1 else None)]


def _transpose(node: Node, given: Given) -> list[Known]:
    value = _value(given, 0)
    order = node.attributes.get("perm", tuple(range(len(value.dims)))[::-1])
    if not isinstance(order, tuple) or sorted(order) != list(range(len(value.dims))):
        raise InputError(f"axes {order} of a value of rank {len(value.dims)}")
    return [Known(value.element, tuple(value.dims[int(axis)] for axis in order))]


def _gather(node: Node, given: Given) -> list[Known]:
    value, indices = _value(given, 0), _value(given, 1)
    axis = _axis(node.attributes.get("axis", 0), len(value.dims))
    return [Known(value.element, (*value.dims[:axis], *indices.dims, *value.dims[axis + 1 :]))]


def _gather_blocks(node: Node, given: Given) -> list[Known]:
    value, indices, scale = (_value(given, index) for index in range(3))
    packed = 8 // int(str(node.attributes.get("bits", 4))) if value.element == UINT8 else 1
    if len(value.dims) != 2 or len(scale.dims) != 2:
        raise InputError("a table that is no matrix")
    return [Known(scale.element, (*indices.dims, value.dims[1] * packed))]


def _slice(node: Node, given: Given) -> list[Known]:
    value = _value(given, 0)
    starts, ends = _content(given, 1, "a start"), _content(given, 2, "an end")
    given_axes, given_steps = _optional(given, 3), _optional(given, 4)
    axes = _constants(given, 3, "axes") if given_axes else list(range(len(starts)))
    steps = _constants(given, 4, "steps") if given_steps else [1] * len(starts)
    if not len(axes) == len(steps) == len(starts) == len(ends) or min(steps, default=1) < 1:
        raise InputError("steps below 1, or not one for each axis")
    dims, content = list(value.dims), None
    for axis, step, start, end in zip(axes, steps, starts, ends, strict=True):
        at = _axis(axis, len(dims))
        size = dims[at]
        low, high = (np.clip(np.where(n < 0, n + size, n), 0, size) for n in (start, end))
        dims[at] = np.maximum(np.ceil((high - low) / step), 0)
        if value.content is not None and len(value.dims) == 1 and len(low) == len(high) == 1:
            content = value.content[int(low[0]) : int(high[0]) : step]
    return [Known(value.element, tuple(dims), content)]


def _split(node: Node, given: Given) -> list[Known]:
    value, parts = _value(given, 0), len(node.outputs)
    if node.attributes.get("num_outputs") != parts:
        raise InputError(f"{parts} outputs, its num_outputs says otherwise")
    axis = _axis(node.attributes.get("axis", 0), len(value.dims))
    each = np.ceil(value.dims[axis] / parts)
    sizes = [each] * (parts - 1) + [value.dims[axis] - each * (parts - 1)]
    return [
        Known(value.element, (*value.dims[:axis], size, *value.dims[axis + 1 :])) for size in sizes
    ]


def _range(node: Node, given: Given) -> list[Known]:
    start, limit = (_content(given, index, "a range")[0] for index in (0, 1))
    (step,) = _constants(given, 2, "a range's step")
    if step < 1:
        raise InputError(f"a range in steps of {step}")
    return [Known(_value(given, 0).element, (np.maximum(np.ceil((limit - start) / step), 0),))]


def _pad(node: Node, given: Given) -> list[Known]:
    value, pads = _value(given, 0), _constants(given, 1, "a padding")
    if len(pads) != 2 * len(value.dims) or min(pads) < 0:
        raise InputError("a padding below 0, or not two for each axis")
    around = zip(pads, pads[len(value.dims) :], strict=False)
    dims = (dim + sum(pair) for dim, pair in zip(value.dims, around, strict=True))
    return [Known(value.element, tuple(dims))]


def _reduced(node: Node, given: Given) -> list[Known]:
    value = _value(given, 0)
    rank, keeps = len(value.dims), node.attributes.get("keepdims", 1)
    asked = _constants(given, 1, "axes") if _optional(given, 1) else list(range(rank))
    axes = {_axis(axis, rank) for axis in asked}
    dims = [np.ones(1) if axis in axes else dim for axis, dim in enumerate(value.dims)]
    kept = [dim for axis, dim in enumerate(dims) if keeps or axis not in axes]
    return [Known(value.element, tuple(kept))]


def _argmax(node: Node, given: Given) -> list[Known]:
    value = _value(given, 0)
    axis = _axis(node.attributes.get("axis", 0), len(value.dims))
    kept = (np.ones(1),) if node.attributes.get("keepdims", 1) else ()
    return [Known(INT64, (*value.dims[:axis], *kept, *value.dims[axis + 1 :]))]


def _product(node: Node, given: Given) -> list[Known]:
    one, other = _value(given, 0), _value(given, 1)
    if len(one.dims) < 2 or len(other.dims) < 2 or (one.dims[-1] != other.dims[-2]).any():
        raise InputError("matrices that do not fit each other")
    element = INT32 if node.operator == "MatMulInteger" else one.element
    stack = _broadcast(one.dims[:-2], other.dims[:-2])
    return [Known(element, (*stack, one.dims[-2], other.dims[-1]))]


def _product_of_blocks(node: Node, given: Given) -> list[Known]:
    """Sizes of all operands are held against K and N: a kernel reads as many bytes as they say."""
    inner, rows, bits, block = (
        int(str(node.attributes[name])) for name in ("K", "N", "bits", "block_size")
    )
    value, blocks = _value(given, 0), -(-inner // block)
    if bits not in (4, 8) or block not in (16, 32, 64, 128):
        raise InputError(f"blocks of {block} values of {bits} bits")
    wanted = {1: rows * blocks * block * bits // 8, 2: rows * blocks}
    if _optional(given, 3):
        wanted[3] = rows * -(-blocks * bits // 8)
    for index, expected in wanted.items():
        found = int(_value(given, index).elements()[0])
        if found != expected:
            raise InputError(f"input {index} has {found} values, K and N need {expected}")
    if (value.dims[-1] != inner).any():
        raise InputError(f"rows of another length than K, {inner}")
    return [Known(FLOAT, (*value.dims[:-1], np.full(1, rows, float)))]


def _window(node: Node, given: Given) -> list[Known]:
    """Conv and ConvTranspose, in one to three dimensions."""
    value, weight = _value(given, 0), _value(given, 1)
    axes, up = len(value.dims) - 2, node.operator == "ConvTranspose"
    group = int(str(node.attributes.get("group", 1)))
    if axes < 1 or len(weight.dims) != axes + 2:
        raise InputError("a kernel that does not fit its input")
    if (value.dims[1] != weight.dims[0 if up else 1] * (1 if up else group)).any():
        raise InputError("a kernel that does not fit its input")

    def each(name: str, default: int, count: int = axes) -> list[int]:
        found = node.attributes.get(name, (default,) * count)
        if not isinstance(found, tuple) or len(found) != count:
            raise InputError(f"attribute {name!r} has not {count} numbers")
        return [int(number) for number in found]

    strides, dilations, pads = each("strides", 1), each("dilations", 1), each("pads", 0, 2 * axes)
    more, dims = each("output_padding", 0), list[Sizes]()
    for axis, size in enumerate(value.dims[2:]):
        kernel = weight.dims[axis + 2]
        if "kernel_shape" in node.attributes and (kernel != each("kernel_shape", 1)[axis]).any():
            raise InputError("a kernel of another shape than its weight")
        reach, around = dilations[axis] * (kernel - 1) + 1, pads[axis] + pads[axis + axes]
        if up:
            dims.append(strides[axis] * (size - 1) + more[axis] + reach - around)
        else:
            dims.append(np.floor((size + around - reach) / strides[axis]) + 1)
    channels = weight.dims[1] * group if up else weight.dims[0]
    return [Known(value.element, (value.dims[0], channels, *dims))]


def _to_space(node: Node, given: Given) -> list[Known]:
    value, block = _value(given, 0), int(str(node.attributes["blocksize"]))
    batch, channels, height, width = value.dims
    if (channels % block**2 != 0).any():
        raise InputError(f"channels that are no multiple of {block**2}")
    return [Known(value.element, (batch, channels / block**2, height * block, width * block))]


def _resize(node: Node, given: Given) -> list[Known]:
    value, scales = _value(given, 0), _content(given, 2, "scales")
    if len(scales) != len(value.dims) or not (scales > 0).all():
        raise InputError("scales that are not one above 0 for each axis")
    dims = (np.floor(dim * scale) for dim, scale in zip(value.dims, scales, strict=True))
    return [Known(value.element, tuple(dims))]


def _einsum(node: Node, given: Given) -> list[Known]:
    operands, _, result = str(node.attributes["equation"]).partition("->")
    sizes: dict[str, Sizes] = {}
    for letters, index in zip(operands.split(","), range(len(given)), strict=True):
        for letter, dim in zip(letters, _value(given, index).dims, strict=True):
            sizes[letter] = _fit(sizes.get(letter, dim), dim)
    return [Known(_value(given, 0).element, tuple(sizes[letter] for letter in result))]


def _attention(node: Node, given: Given) -> list[Known]:
    """softmax(Q Kᵀ) V on (batch, heads, rows, width); heads of K and V are shared by groups."""
    query, key, value = (_value(given, index) for index in range(3))
    if not len(query.dims) == len(key.dims) == len(value.dims) == 4:
        raise InputError("queries, keys and values that are not of rank 4")
    fits = (
        np.all(query.dims[0] == key.dims[0]),
        np.all(query.dims[3] == key.dims[3]),
        all(np.all(one == other) for one, other in zip(key.dims[:3], value.dims[:3], strict=True)),
        np.all(query.dims[1] % np.maximum(key.dims[1], 1) == 0),
    )
    if not all(fits):
        raise InputError("queries, keys and values that do not fit each other")
    return [Known(query.element, (*query.dims[:3], value.dims[3]))]


def _quantised(node: Node, given: Given) -> list[Known]:
    return [Known(_value(given, 2).element, _value(given, 0).dims)]


def _restored(node: Node, given: Given) -> list[Known]:
    return [Known(_value(given, 1).element, _value(given, 0).dims)]


def _rounded_by_tensor(node: Node, given: Given) -> list[Known]:
    return [Known(UINT8, _value(given, 0).dims), Known(FLOAT, ()), Known(UINT8, ())]


def _clip(node: Node, given: Given) -> list[Known]:
    if any(
        bound is not None and math.prod(map(float, bound.elements())) != 1 for bound in given[1:]
    ):
        raise InputError("bounds that are no single numbers")
    return same(node, given)


RULES: Final[Mapping[str, Rule]] = {
    "Add": _arithmetic, "ArgMax": _argmax, "Attention": _attention, "Cast": _cast, "Clip": _clip,
    "Concat": _concat, "Conv": _window, "ConvTranspose": _window, "DepthToSpace": _to_space,
    "DequantizeLinear": _restored, "Div": _arithmetic, "DynamicQuantizeLinear": _rounded_by_tensor,
    "Einsum": _einsum, "Expand": _expand, "Gather": _gather, "GatherBlockQuantized": _gather_blocks,
    "MatMul": _product, "MatMulInteger": _product, "MatMulNBits": _product_of_blocks,
    "Max": _arithmetic, "Mul": _arithmetic, "Pad": _pad, "Pow": _arithmetic,
    "QuantizeLinear": _quantised, "Range": _range, "ReduceL2": _reduced, "ReduceMax": _reduced,
    "Reshape": _reshape, "Resize": _resize, "Shape": _shape, "Slice": _slice, "Split": _split, "Squeeze": _squeeze,
    "Sub": _arithmetic, "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip
