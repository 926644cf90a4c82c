"""The size of every value of an ONNX graph, computed from its interface, before a vendor library
sees it.

The graph is computed on shapes instead of numbers, at a grid of sizes that covers the bounds of
each free dim. Integers that a shape is made of (`Shape`, and arithmetic on it) are computed too: a
shape that depends on anything else is refused. At every point of the grid, the values that are
alive together may take `RATIO` times what crosses the graph's border there, and its weights;
in an encoder or decoder of pictures or samples `SAMPLED_RATIO` times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle.size_rules import RULES, same
from nextomni_edge.bundle.size_values import Known, Sizes
from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import Node, OnnxFile, Tensor
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec, Wire

RATIO: Final = 64  # our own exports need at most 30
# aMUSEd's decoder keeps four values of 256 channels at a picture's full size: 340 times its
# colours. A speech codec keeps six of 64 channels at every sample.
SAMPLED_RATIO: Final = 512
LEAST: Final = 2**24  # bytes that any graph may use
CONTENT: Final = 64  # integers of a constant that may be part of a shape
ELEMENTS: Final = {"float32": 1, "int64": 7, "bool": 9, "float16": 10}
_NUMBERS: Final = {1: "<f4", 7: "<i8"}  # of which a shape, or a range, may be made
_PIXELS: Final = "pixel_"
_STEP: Final = 8  # from one size of the grid to the next


def check_sizes(graph: OnnxFile, spec: GraphSpec, weights: int) -> None:
    """InputError: a shape that is not bound by the interface, a value that is too large, or an
    output that is not the interface's. `weights`: bytes of the graph's constants."""
    sizes = _grid(spec)
    tensors = {tensor.name for tensor in (*spec.inputs, *spec.outputs)}
    ratio = SAMPLED_RATIO if tensors & {Wire.PIXELS, Wire.WAVEFORM} else RATIO
    allowed = LEAST + ratio * _border(spec, sizes) + 4 * weights
    values: dict[str, Known] = {tensor.name: _constant(tensor) for tensor in graph.tensors}
    count = len(allowed)
    for tensor in spec.inputs:
        values[tensor.name] = _given(tensor, sizes, count)
    last = _last_uses(graph)
    alive = np.zeros(count)
    for index, node in enumerate(graph.nodes):
        for name, value in zip(node.outputs, _computed(node, index, values, count), strict=True):
            if name in values:
                raise InputError(f"value {name[:80]!a} is computed twice")
            values[name] = value
            alive += value.nbytes(count)
        if (alive > allowed).any():
            at = int(np.argmax(alive > allowed))
            raise InputError(
                f"{_named(node, index)}: {int(alive[at])} bytes of values at"
                f" {_point(sizes, at)}, at most {int(allowed[at])} fit the interface"
            )
        for name in last.get(index, ()):
            alive -= values[name].nbytes(count)
    for tensor in spec.outputs:
        _check_output(tensor, values.get(tensor.name), sizes, count)


def _grid(spec: GraphSpec) -> dict[str, NDArray[np.float64]]:
    """Every combination of sizes of the free dims; attended columns are those of past and rows,
    rows of a heard sound stand behind its queries, and a picture's pixels are those of its codes,
    whole patches each."""
    bounds = spec.dims()
    patches = {name: name.removeprefix(_PIXELS) for name in bounds if name.startswith(_PIXELS)}
    derived = {"attended", "heard_rows", *patches}
    dims = {n: dim for n, dim in bounds.items() if n not in derived}
    axes = [_axis(dim) for dim in dims.values()]
    points = [grid.reshape(-1) for grid in np.meshgrid(*axes, indexing="ij")]
    sizes = dict(zip(dims, points, strict=True))
    if "attended" in bounds:
        sizes["attended"] = sizes["rows"] + sizes.get("past", 0)
    if "heard_rows" in bounds:
        sizes["heard_rows"] = sizes["heard"] + (bounds["heard_rows"].min - bounds["heard"].min)
    for name, side in patches.items():
        sizes[name] = sizes[side] * (bounds[name].min // bounds[side].min)
    return sizes


def _axis(dim: Dim) -> NDArray[np.float64]:
    found, size = [dim.min], max(2, dim.min)
    while size < dim.max:
        found.append(size)
        size *= _STEP
    return np.array(sorted({*found, dim.max}), np.float64)


def _border(spec: GraphSpec, sizes: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Bytes of the inputs and outputs, and of one attention mask."""
    count = max((len(points) for points in sizes.values()), default=1)
    tensors = (*spec.inputs, *spec.outputs)
    found = sum((_given(tensor, sizes, count).nbytes(count) for tensor in tensors), np.zeros(count))
    if "attended" in sizes:
        found = found + 4 * sizes["batch"] * sizes["rows"] * sizes["attended"]
    if {"length", "frames"} <= sizes.keys():  # each code is compared with each, by distance too
        found = found + 16 * sizes["batch"] * sizes["length"] ** 2
    return found


def _given(tensor: TensorSpec, sizes: Mapping[str, NDArray[np.float64]], count: int) -> Known:
    dims = (sizes[d.name] if isinstance(d, Dim) else np.full(count, d, float) for d in tensor.dims)
    return Known(ELEMENTS[tensor.dtype], tuple(dims))


def _constant(tensor: Tensor) -> Known:
    dims = tuple(np.full(1, dim, float) for dim in tensor.dims)
    few = len(dims) <= 1 and sum(tensor.dims) <= CONTENT
    if tensor.element not in _NUMBERS or tensor.raw is None or not few:
        return Known(tensor.element, dims)
    content = np.frombuffer(bytes(tensor.raw), _NUMBERS[tensor.element]).astype(np.float64)
    return Known(tensor.element, dims, content[:, None])


def _computed(node: Node, index: int, values: Mapping[str, Known], count: int) -> Sequence[Known]:
    given = []
    for name in node.inputs:
        if name and name not in values:
            raise InputError(f"{_named(node, index)}: input {name[:80]!a} is not computed before")
        given.append(values[name] if name else None)
    try:
        found = RULES.get(node.operator, same)(node, given)
        whole = [value for value in found if value.whole(count)]
    except InputError as error:
        raise InputError(f"{_named(node, index)}: {error}") from error
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{_named(node, index)}: its inputs do not fit it") from error
    if len(whole) != len(node.outputs):
        raise InputError(f"{_named(node, index)}: sizes below 0 or without end")
    return whole


def _last_uses(graph: OnnxFile) -> dict[int, list[str]]:
    """Names of the computed values that nothing reads after a node, by the node's index."""
    computed = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs}
    last = dict(computed)
    for index, node in enumerate(graph.nodes):
        last |= {name: index for name in node.inputs if name in computed}
    found: dict[int, list[str]] = {}
    for name in last.keys() - {value.name for value in graph.outputs}:
        found.setdefault(last[name], []).append(name)
    return found


def _check_output(
    tensor: TensorSpec,
    value: Known | None,
    sizes: Mapping[str, NDArray[np.float64]],
    count: int,
) -> None:
    if value is None:
        raise InputError(f"output {tensor.name} is not computed")
    expected = _given(tensor, sizes, count)
    if value.element != expected.element:
        raise InputError(
            f"output {tensor.name}: element type {value.element} is computed, expected"
            f" {expected.element}"
        )
    if len(value.dims) != len(expected.dims):
        raise InputError(
            f"output {tensor.name}: rank {len(value.dims)} is computed, expected"
            f" {len(expected.dims)}"
        )
    for axis, (found, wanted) in enumerate(zip(value.dims, expected.dims, strict=True)):
        differs = np.broadcast_to(found != wanted, (count,))
        if differs.any():
            at = int(np.argmax(differs))
            raise InputError(
                f"output {tensor.name}: axis {axis} is computed with size"
                f" {int(_at(found, at))} at {_point(sizes, at)}, expected {int(wanted[at])}"
            )


def _at(sizes: Sizes, at: int) -> float:
    return float(sizes[at if len(sizes) > 1 else 0])


def _point(sizes: Mapping[str, NDArray[np.float64]], at: int) -> str:
    return ", ".join(f"{name} {int(points[at])}" for name, points in sizes.items()) or "any size"


def _named(node: Node, index: int) -> str:
    return f"operator {index} ({node.operator})"
