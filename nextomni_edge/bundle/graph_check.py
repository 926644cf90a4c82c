"""An ONNX graph, checked against its GraphSpec and the bundle's files before a vendor library sees
it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nextomni_edge.bundle.component_format import Stored
from nextomni_edge.bundle.graph_sizes import ELEMENTS, check_sizes
from nextomni_edge.bundle.manifest import FileRecord, check_path
from nextomni_edge.bundle.operators import check_operators
from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import MAX_GRAPH, Tensor, Value, read_graph, read_onnx
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.spec import GraphSpec, TensorSpec

BITS: Final = {
    1: 32,
    2: 8,
    3: 8,
    4: 16,
    5: 16,
    6: 32,
    7: 64,
    9: 8,
    10: 16,
    11: 64,
    12: 32,
    13: 64,
    16: 16,
    17: 8,
    21: 4,
    22: 4,
}
_DIGITS = re.compile(r"[0-9]{1,18}")


def check_stored(stored: Stored) -> set[str]:
    """`check_graph` of a component."""
    return check_graph(stored.path, stored.spec, stored.files)


def check_graph(path: Path, spec: GraphSpec, files: Mapping[str, FileRecord]) -> set[str]:
    """Names of the files of the graph's external data. InputError names the graph and the fault."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if size > MAX_GRAPH:
        raise InputError(
            f"{path}: graph of {size} bytes, at most {MAX_GRAPH} are read (weights stand in files"
            " of their own)"
        )
    data = read_regular(path, MAX_GRAPH)
    try:
        graph = read_onnx(data)
        check_operators(graph)
        _check_values("input", spec.inputs, graph.inputs)
        _check_values("output", spec.outputs, graph.outputs)
        located = [_check_tensor(tensor, files) for tensor in graph.tensors]
        check_sizes(graph, spec, sum(map(_nbytes, graph.tensors)))
        return {location for location in located if location is not None}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def regions(path: Path) -> list[tuple[str, int, int]]:
    """(file, first byte, byte after the last) of each external tensor of a graph that `check_graph`
    has passed."""
    entries = [
        dict(tensor.entries) for tensor in read_graph(path).tensors if tensor.entries is not None
    ]
    return [
        (each["location"], start := int(each.get("offset", "0")), start + int(each["length"]))
        for each in entries
    ]


def _check_values(kind: str, specs: tuple[TensorSpec, ...], values: list[Value]) -> None:
    found, expected = [value.name for value in values], [spec.name for spec in specs]
    if sorted(found) != sorted(expected):
        raise InputError(
            f"{kind}s {', '.join(map(repr, found))}, expected {', '.join(map(repr, expected))}"
        )
    by_name = {value.name: value for value in values}
    for spec in specs:
        _check_value(kind, spec, by_name[spec.name])


def _check_value(kind: str, spec: TensorSpec, value: Value) -> None:
    if value.element != ELEMENTS[spec.dtype]:
        names = {element: name for name, element in ELEMENTS.items()}
        raise InputError(
            f"{kind} {spec.name}: dtype {names.get(value.element, value.element)}, expected"
            f" {spec.dtype}"
        )
    if len(value.dims) != len(spec.dims):
        raise InputError(f"{kind} {spec.name}: rank {len(value.dims)}, expected {len(spec.dims)}")
    for axis, (size, dim) in enumerate(zip(value.dims, spec.dims, strict=True)):
        if size != (dim if isinstance(dim, int) else None):
            wanted = dim if isinstance(dim, int) else f"a free size ({dim.name})"
            raise InputError(
                f"{kind} {spec.name}: axis {axis} has {'a free size' if size is None else size},"
                f" expected {wanted}"
            )


def _check_tensor(tensor: Tensor, files: Mapping[str, FileRecord]) -> str | None:
    """Check a tensor's size against dims and dtype, and for external data against its file."""
    if (
        any(not 0 <= dim < 2**40 for dim in tensor.dims)
        or len(tensor.dims) > 16
        or math.prod(tensor.dims) >= 2**48
    ):
        raise InputError(f"tensor {tensor.name[:80]!a}: dims {str(tensor.dims)[:60]} are no sizes")
    if tensor.entries is None:
        held = 0 if tensor.raw is None else len(tensor.raw)
        if held != _nbytes(tensor):
            raise InputError(
                f"tensor {tensor.name[:80]!a}: {held} bytes of data, its dims need"
                f" {_nbytes(tensor)}"
            )
        return None
    entries = dict(tensor.entries)
    if (
        len(entries) != len(tensor.entries)
        or entries.keys() - {"location", "offset", "length"}
        or not {"location", "length"} <= entries.keys()
    ):
        raise InputError(
            f"tensor {tensor.name[:80]!a}: external data has keys {sorted(entries)}, expected"
            " location, offset, length"
        )
    location = entries["location"]
    check_path(location, f"tensor {tensor.name[:80]!a}: external data")
    if location not in files:
        raise InputError(
            f"tensor {tensor.name[:80]!a}: external data in {location!r}, which the manifest does"
            " not list"
        )
    offset, length = (
        _number(tensor.name, key, entries.get(key, "0")) for key in ("offset", "length")
    )
    if length != _nbytes(tensor):
        raise InputError(
            f"tensor {tensor.name[:80]!a}: external data of {length} bytes, its dims need"
            f" {_nbytes(tensor)}"
        )
    if offset + length > files[location].size:
        raise InputError(
            f"tensor {tensor.name[:80]!a}: external data ends at byte {offset + length},"
            f" {location!r} has {files[location].size}"
        )
    return location


def _nbytes(tensor: Tensor) -> int:
    if tensor.element not in BITS:
        raise InputError(
            f"tensor {tensor.name[:80]!a}: element type {tensor.element} is not supported"
        )
    return -(-math.prod(tensor.dims) * BITS[tensor.element] // 8)


def _number(name: str, key: str, digits: str) -> int:
    if not _DIGITS.fullmatch(digits):
        raise InputError(
            f"tensor {name[:80]!a}: external data {key} {digits[:40]!r}, expected a number of bytes"
        )
    return int(digits)
