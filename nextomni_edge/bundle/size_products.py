"""What the products do to shapes: of matrices, of convolutions, of attention."""

from __future__ import annotations

import numpy as np

from nextomni_edge.bundle.size_values import (
    FLOAT,
    INT32,
    UINT8,
    Given,
    Known,
    Sizes,
    broadcast,
    fit,
    numbers,
    optional,
    value_of,
)
from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import Node


def product(node: Node, given: Given) -> list[Known]:
    one, other = value_of(given, 0), value_of(given, 1)
    if len(one.dims) < 2 or len(other.dims) < 2 or (one.dims[-1] != other.dims[-2]).any():
        raise InputError("matrices that do not fit each other")
    element = INT32 if node.operator == "MatMulInteger" else one.element
    stack = broadcast(one.dims[:-2], other.dims[:-2])
    return [Known(element, (*stack, one.dims[-2], other.dims[-1]))]


def product_of_blocks(node: Node, given: Given) -> list[Known]:
    """Sizes of all operands are held against K and N: a kernel reads as many bytes as they say."""
    inner, rows, bits, block = (
        int(str(node.attributes[name])) for name in ("K", "N", "bits", "block_size")
    )
    value, blocks = value_of(given, 0), -(-inner // block)
    if bits not in (4, 8) or block not in (16, 32, 64, 128):
        raise InputError(f"blocks of {block} values of {bits} bits")
    wanted = {1: rows * blocks * block * bits // 8, 2: rows * blocks}
    if optional(given, 3):
        wanted[3] = rows * -(-blocks * bits // 8)
    for index, expected in wanted.items():
        found = int(value_of(given, index).elements()[0])
        if found != expected:
            raise InputError(f"input {index} has {found} values, K and N need {expected}")
    if (value.dims[-1] != inner).any():
        raise InputError(f"rows whose length is not K, {inner}")
    return [Known(FLOAT, (*value.dims[:-1], np.full(1, rows, float)))]


def window(node: Node, given: Given) -> list[Known]:
    """Conv and ConvTranspose, in one to three dimensions."""
    value, weight = value_of(given, 0), value_of(given, 1)
    axes, up = len(value.dims) - 2, node.operator == "ConvTranspose"
    group = int(str(node.attributes.get("group", 1)))
    if axes < 1 or len(weight.dims) != axes + 2:
        raise InputError("a kernel that does not fit its input")
    if (value.dims[1] != weight.dims[0 if up else 1] * (1 if up else group)).any():
        raise InputError("a kernel that does not fit its input")

    def each(name: str, default: int, count: int = axes) -> list[int]:
        found = node.attributes.get(name, (default,) * count)
        if not isinstance(found, tuple) or len(found) != count:
            raise InputError(f"attribute {name!r} does not have {count} numbers")
        return [int(number) for number in found]

    strides, dilations, pads = each("strides", 1), each("dilations", 1), each("pads", 0, 2 * axes)
    more, dims = each("output_padding", 0), list[Sizes]()
    for axis, size in enumerate(value.dims[2:]):
        kernel = weight.dims[axis + 2]
        if "kernel_shape" in node.attributes and (kernel != each("kernel_shape", 1)[axis]).any():
            raise InputError("a kernel whose shape is not its weight's")
        reach, around = dilations[axis] * (kernel - 1) + 1, pads[axis] + pads[axis + axes]
        if up:
            dims.append(strides[axis] * (size - 1) + more[axis] + reach - around)
        else:
            dims.append(np.floor((size + around - reach) / strides[axis]) + 1)
    channels = weight.dims[1] * group if up else weight.dims[0]
    return [Known(value.element, (value.dims[0], channels, *dims))]


def to_space(node: Node, given: Given) -> list[Known]:
    value, block = value_of(given, 0), int(str(node.attributes["blocksize"]))
    batch, channels, height, width = value.dims
    if (channels % block**2 != 0).any():
        raise InputError(f"channels that are no multiple of {block**2}")
    return [Known(value.element, (batch, channels / block**2, height * block, width * block))]


def resize(node: Node, given: Given) -> list[Known]:
    value, scales = value_of(given, 0), numbers(given, 2, "scales")
    if len(scales) != len(value.dims) or not (scales > 0).all():
        raise InputError("scales that are not one above 0 for each axis")
    dims = (np.floor(dim * scale) for dim, scale in zip(value.dims, scales, strict=True))
    return [Known(value.element, tuple(dims))]


def einsum(node: Node, given: Given) -> list[Known]:
    operands, _, result = str(node.attributes["equation"]).partition("->")
    sizes: dict[str, Sizes] = {}
    for letters, index in zip(operands.split(","), range(len(given)), strict=True):
        for letter, dim in zip(letters, value_of(given, index).dims, strict=True):
            sizes[letter] = fit(sizes.get(letter, dim), dim)
    return [Known(value_of(given, 0).element, tuple(sizes[letter] for letter in result))]


def attention(node: Node, given: Given) -> list[Known]:
    """softmax(Q Kᵀ) V on (batch, heads, rows, width); heads of K and V are shared by groups."""
    query, key, value = (value_of(given, index) for index in range(3))
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


def gather_blocks(node: Node, given: Given) -> list[Known]:
    value, indices, scale = (value_of(given, index) for index in range(3))
    packed = 8 // int(str(node.attributes.get("bits", 4))) if value.element == UINT8 else 1
    if len(value.dims) != 2 or len(scale.dims) != 2:
        raise InputError("a table that is no matrix")
    return [Known(scale.element, (*indices.dims, value.dims[1] * packed))]
