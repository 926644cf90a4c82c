"""What each operator does to shapes: one function per operator of operators.py whose output is not
of its first input's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from nextomni_edge.bundle.size_products import (
    attention,
    einsum,
    gather_blocks,
    product,
    product_of_blocks,
    resize,
    to_space,
    window,
)
from nextomni_edge.bundle.size_values import (
    BOOL,
    FLOAT,
    INT64,
    INTEGERS,
    UINT8,
    Given,
    Known,
    Rule,
    Sizes,
    axis_of,
    broadcast,
    constants,
    exact,
    numbers,
    optional,
    value_of,
)
from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import Node


def same(node: Node, given: Given) -> list[Known]:
    """One output, shaped as the first input."""
    return [Known(value_of(given, 0).element, value_of(given, 0).dims)]


def _arithmetic(node: Node, given: Given) -> list[Known]:
    one, other = value_of(given, 0), value_of(given, 1)
    if node.operator == "Pow" and {one.element, other.element} & INTEGERS:
        raise InputError("of integers, expected floating point")
    if node.operator == "Div" and {one.element, other.element} & INTEGERS:
        _check_divisor(given)
    dims, content = broadcast(one.dims, other.dims), None
    if one.content is not None and other.content is not None and len(dims) <= 1:
        if node.operator == "Add":
            content = one.content + other.content
        elif node.operator == "Sub":
            content = one.content - other.content
        elif node.operator == "Mul":
            content = one.content * other.content
        elif node.operator == "Div" and one.element == INT64 and (one.content >= 0).all():
            content = one.content // other.content
    return [Known(one.element, dims, exact(content))]


def _cast(node: Node, given: Given) -> list[Known]:
    value, element = value_of(given, 0), int(str(node.attributes["to"]))
    content = (
        value.content if element == FLOAT or value.content is None else np.trunc(value.content)
    )
    return [Known(element, value.dims, content)]


def _comparison(node: Node, given: Given) -> list[Known]:
    return [Known(BOOL, broadcast(value_of(given, 0).dims, value_of(given, 1).dims))]


def _check_divisor(given: Given) -> None:
    """A processor stops a program that divides by 0, or the smallest integer by -1."""
    divisor = constants(given, 1, "a divisor")
    if min(divisor, default=1) < 1:
        raise InputError(f"a divisor of {min(divisor)}, expected at least 1")


def _where(node: Node, given: Given) -> list[Known]:
    condition, one, other = (value_of(given, index) for index in range(3))
    return [Known(one.element, broadcast(condition.dims, one.dims, other.dims))]


def _remainder(node: Node, given: Given) -> list[Known]:
    _check_divisor(given)
    return [Known(value_of(given, 0).element, value_of(given, 0).dims)]


def _shape(node: Node, given: Given) -> list[Known]:
    dims = value_of(given, 0).dims
    start, end = node.attributes.get("start", 0), node.attributes.get("end", len(dims))
    if not isinstance(start, int) or not isinstance(end, int):
        raise InputError("axes that are no whole numbers")
    taken = dims[start:end]
    count = max((len(dim) for dim in taken), default=1)
    content = np.array([np.broadcast_to(dim, (count,)) for dim in taken]).reshape(-1, count)
    return [Known(INT64, (np.full(1, len(taken), float),), content)]


def _concat(node: Node, given: Given) -> list[Known]:
    values = [value_of(given, index) for index in range(len(given))]
    first, axis = values[0], axis_of(node.attributes["axis"], len(values[0].dims))
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
    value, shape = value_of(given, 0), numbers(given, 1, "a shape")
    return [Known(value.element, broadcast(value.dims, tuple(shape)))]


def _reshape(node: Node, given: Given) -> list[Known]:
    value, shape = value_of(given, 0), numbers(given, 1, "a shape")
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
    value = value_of(given, 0)
    if optional(given, 1) is None:
        axes = {axis for axis, dim in enumerate(value.dims) if (dim == 1).all()}
    else:
        axes = {axis_of(axis, len(value.dims)) for axis in constants(given, 1, "axes")}
    if any((value.dims[axis] != 1).any() for axis in axes):
        raise InputError("an axis of more than 1")
    dims = tuple(dim for axis, dim in enumerate(value.dims) if axis not in axes)
    return [Known(value.element, dims, value.content if len(dims) <= 1 else None)]


def _unsqueeze(node: Node, given: Given) -> list[Known]:
    value, asked = value_of(given, 0), constants(given, 1, "axes")
    rank = len(value.dims) + len(asked)
    axes, left = {axis_of(axis, rank) for axis in asked}, iter(value.dims)
    if len(axes) != len(asked):
        raise InputError("an axis twice")
    dims = tuple(np.ones(1) if axis in axes else next(left) for axis in range(rank))
    return [Known(value.element, dims, value.content if rank <= 1 else None)]


def _transpose(node: Node, given: Given) -> list[Known]:
    value = value_of(given, 0)
    order = node.attributes.get("perm", tuple(range(len(value.dims)))[::-1])
    if not isinstance(order, tuple) or sorted(order) != list(range(len(value.dims))):
        raise InputError(f"axes {order} of a value of rank {len(value.dims)}")
    return [Known(value.element, tuple(value.dims[int(axis)] for axis in order))]


def _gather(node: Node, given: Given) -> list[Known]:
    value, indices = value_of(given, 0), value_of(given, 1)
    axis = axis_of(node.attributes.get("axis", 0), len(value.dims))
    return [Known(value.element, (*value.dims[:axis], *indices.dims, *value.dims[axis + 1 :]))]


def _gather_elements(node: Node, given: Given) -> list[Known]:
    value, indices = value_of(given, 0), value_of(given, 1)
    axis = axis_of(node.attributes.get("axis", 0), len(value.dims))
    rest = zip(indices.dims, value.dims, strict=True)
    if not all(np.all(own <= of) for n, (own, of) in enumerate(rest) if n != axis):
        raise InputError("indices of more rows than the value")
    return [Known(value.element, indices.dims)]


def _affine(node: Node, given: Given) -> list[Known]:
    value, weight = value_of(given, 0), value_of(given, 1)
    if len(value.dims) != 2 or len(weight.dims) != 2:
        raise InputError("matrices that do not have rank 2")
    inner, outer = weight.dims[::-1] if node.attributes.get("transB") else weight.dims
    if (value.dims[1] != inner).any():
        raise InputError("shapes that do not fit each other")
    return [Known(value.element, (value.dims[0], outer))]


def _slice(node: Node, given: Given) -> list[Known]:
    value = value_of(given, 0)
    starts, ends = numbers(given, 1, "a start"), numbers(given, 2, "an end")
    given_axes, given_steps = optional(given, 3), optional(given, 4)
    axes = constants(given, 3, "axes") if given_axes else list(range(len(starts)))
    steps = constants(given, 4, "steps") if given_steps else [1] * len(starts)
    if not len(axes) == len(steps) == len(starts) == len(ends) or min(steps, default=1) < 1:
        raise InputError("steps below 1, or not one for each axis")
    dims, content = list(value.dims), None
    for axis, step, start, end in zip(axes, steps, starts, ends, strict=True):
        at = axis_of(axis, len(dims))
        size = dims[at]
        low, high = (np.clip(np.where(n < 0, n + size, n), 0, size) for n in (start, end))
        dims[at] = np.maximum(np.ceil((high - low) / step), 0)
        if value.content is not None and len(value.dims) == 1 and len(low) == len(high) == 1:
            content = value.content[int(low[0]) : int(high[0]) : step]
    return [Known(value.element, tuple(dims), content)]


def _split(node: Node, given: Given) -> list[Known]:
    value, parts = value_of(given, 0), len(node.outputs)
    if node.attributes.get("num_outputs") != parts:
        raise InputError(f"{parts} outputs, its num_outputs says otherwise")
    axis = axis_of(node.attributes.get("axis", 0), len(value.dims))
    each = np.ceil(value.dims[axis] / parts)
    sizes = [each] * (parts - 1) + [value.dims[axis] - each * (parts - 1)]
    return [
        Known(value.element, (*value.dims[:axis], size, *value.dims[axis + 1 :])) for size in sizes
    ]


def _range(node: Node, given: Given) -> list[Known]:
    start, limit = (numbers(given, index, "a range")[0] for index in (0, 1))
    (step,) = constants(given, 2, "a range's step")
    if step < 1:
        raise InputError(f"a range in steps of {step}")
    return [Known(value_of(given, 0).element, (np.maximum(np.ceil((limit - start) / step), 0),))]


def _pad(node: Node, given: Given) -> list[Known]:
    value, pads = value_of(given, 0), constants(given, 1, "a padding")
    if len(pads) != 2 * len(value.dims) or min(pads) < 0:
        raise InputError("a padding below 0, or not two for each axis")
    around = zip(pads, pads[len(value.dims) :], strict=False)
    dims = (dim + sum(pair) for dim, pair in zip(value.dims, around, strict=True))
    return [Known(value.element, tuple(dims))]


def _reduced(node: Node, given: Given) -> list[Known]:
    value = value_of(given, 0)
    rank, keeps = len(value.dims), node.attributes.get("keepdims", 1)
    asked = constants(given, 1, "axes") if optional(given, 1) else list(range(rank))
    axes = {axis_of(axis, rank) for axis in asked}
    dims = [np.ones(1) if axis in axes else dim for axis, dim in enumerate(value.dims)]
    kept = [dim for axis, dim in enumerate(dims) if keeps or axis not in axes]
    return [Known(value.element, tuple(kept))]


def _argmax(node: Node, given: Given) -> list[Known]:
    value = value_of(given, 0)
    axis = axis_of(node.attributes.get("axis", 0), len(value.dims))
    kept = (np.ones(1),) if node.attributes.get("keepdims", 1) else ()
    return [Known(INT64, (*value.dims[:axis], *kept, *value.dims[axis + 1 :]))]


def _quantised(node: Node, given: Given) -> list[Known]:
    return [Known(value_of(given, 2).element, value_of(given, 0).dims)]


def _restored(node: Node, given: Given) -> list[Known]:
    return [Known(value_of(given, 1).element, value_of(given, 0).dims)]


def _rounded_by_tensor(node: Node, given: Given) -> list[Known]:
    return [Known(UINT8, value_of(given, 0).dims), Known(FLOAT, ()), Known(UINT8, ())]


def _clip(node: Node, given: Given) -> list[Known]:
    if any(bound is not None and (bound.elements() != 1).any() for bound in given[1:]):
        raise InputError("bounds that are no single numbers")
    return same(node, given)


RULES: Final[Mapping[str, Rule]] = {
    "Add": _arithmetic, "And": _comparison, "Greater": _comparison,
    "Equal": _comparison, "Or": _comparison, "GatherElements": _gather_elements, "Gemm": _affine,
    "GreaterOrEqual": _comparison, "LessOrEqual": _comparison, "Mod": _remainder, "Where": _where,
    "ArgMax": _argmax, "ArgMin": _argmax, "Attention": attention, "Cast": _cast, "Clip": _clip,
    "Concat": _concat, "Conv": window, "ConvTranspose": window, "DepthToSpace": to_space,
    "DequantizeLinear": _restored, "Div": _arithmetic, "DynamicQuantizeLinear": _rounded_by_tensor,
    "Einsum": einsum, "Expand": _expand, "Gather": _gather, "GatherBlockQuantized": gather_blocks,
    "MatMul": product, "MatMulInteger": product, "MatMulNBits": product_of_blocks,
    "Max": _arithmetic, "Mul": _arithmetic, "Pad": _pad, "Pow": _arithmetic,
    "QuantizeLinear": _quantised, "Range": _range, "ReduceL2": _reduced, "ReduceMax": _reduced,
    "ReduceMean": _reduced, "ReduceSum": _reduced, "Reshape": _reshape, "Resize": resize,
    "Shape": _shape,
    "Slice": _slice, "Split": _split,
    "Squeeze": _squeeze, "Sub": _arithmetic, "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip
