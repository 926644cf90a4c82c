"""Reads the parts of an ONNX file that a bundle's checks need, from protobuf's wire format. The
onnx package is not used, and no byte is trusted.

Field numbers are those of onnx.proto. Every fault is an InputError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nextomni_edge.errors import InputError
from nextomni_edge.formats.protobuf import Message
from nextomni_edge.formats.regular import read_regular

MAX_GRAPH: Final = 64 * 2**20

# all but training information, local functions and device placement
_MODEL_FIELDS: Final = {1, 2, 3, 4, 5, 6, 7, 8, 14}
_EXTERNAL: Final = 1
# AttributeProto's fields by its types FLOAT, INT, STRING, FLOATS and INTS
_FLOAT, _INT, _STRING, _FLOATS, _INTS = 1, 2, 3, 6, 7
_HELD: Final = {_FLOAT: 2, _INT: 3, _STRING: 4, _FLOATS: 7, _INTS: 8}
_NAME, _TYPE, _DOCUMENTATION = 1, 20, 13

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Value:
    """A graph's input or output; a dim is a size, or None where it is symbolic."""

    name: str
    element: int
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class Tensor:
    """A constant. `entries` are its external_data pairs, None where the data stands inside the file
    (`raw`, little-endian, None where it stands in typed fields)."""

    name: str
    element: int
    dims: tuple[int, ...]
    raw: memoryview | None
    entries: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True)
class Node:
    """One operator; an input that is left out has the name ""."""

    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


@dataclass
class OnnxFile:
    """The facts of one file; `opsets` by domain."""

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    opsets: dict[str, int] = field(default_factory=dict)


def read_graph(path: Path) -> OnnxFile:
    """`read_onnx` of a regular file of at most MAX_GRAPH bytes. InputError: as there."""
    return read_onnx(read_regular(path, MAX_GRAPH))


def read_onnx(data: bytes) -> OnnxFile:
    """Parse a model file. InputError: not protobuf, no graph, or parts that a bundle may not
    hold."""
    model, found = Message(memoryview(data)), OnnxFile()
    for number in sorted(model.numbers() - _MODEL_FIELDS):
        raise InputError(
            f"model field {number} (functions, training information or newer) is not supported"
        )
    if model.message(7) is None:
        raise InputError("no graph inside")
    for opset in model.parts(8):
        if opset.text(1) in found.opsets:
            raise InputError(f"the opset of domain {opset.text(1)[:80]!a} stands twice")
        found.opsets[opset.text(1)] = opset.integer(2)
    graph = model.part(7)
    if graph.messages(15):
        raise InputError("sparse tensors are not supported")
    found.inputs = [_value(value) for value in graph.parts(11)]
    found.outputs = [_value(value) for value in graph.parts(12)]
    found.tensors = [_tensor(tensor) for tensor in graph.parts(5)]
    found.nodes = [_node(node) for node in graph.parts(1)]
    return found


def _node(node: Message) -> Node:
    operator = node.text(4)
    attributes = dict[str, Attribute]()
    for attribute in node.parts(5):
        name = attribute.text(_NAME)
        if name in attributes:
            raise InputError(f"{operator[:80]!a}: attribute {name[:80]!a} stands twice")
        attributes[name] = _attribute(operator, attribute)
    inputs, outputs = (tuple(_name(name) for name in node.messages(number)) for number in (1, 2))
    return Node(node.text(7), operator, inputs, outputs, attributes)


def _name(data: memoryview) -> str:
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("a name is not UTF-8") from error


def _attribute(operator: str, attribute: Message) -> Attribute:
    """The one value of an attribute. Subgraphs, tensors and references are none that we write."""
    kind = attribute.integer(_TYPE)
    held = _HELD.get(kind)
    shown = f"{operator[:80]!a}: attribute {attribute.text(_NAME)[:80]!a}"
    if held is None:
        raise InputError(f"{shown} has type {kind}, expected numbers or text (no subgraphs)")
    if others := attribute.numbers() - {_NAME, _TYPE, _DOCUMENTATION, held}:
        raise InputError(f"{shown} holds field {min(others)} next to its value")
    if kind == _STRING:
        return attribute.text(held)
    if kind in (_INT, _INTS):
        integers = attribute.integers(held)
        return tuple(integers) if kind == _INTS else attribute.integer(held)
    floats = _floats(attribute, held)
    if kind == _FLOATS:
        return floats
    if len(floats) > 1:
        raise InputError(f"{shown} stands {len(floats)} times, expected once")
    return floats[0] if floats else 0.0


def _floats(message: Message, number: int) -> tuple[float, ...]:
    data = b"".join(message.messages(number))
    if len(data) % 4:
        raise InputError(f"{len(data)} bytes are no whole number of floats")
    return struct.unpack(f"<{len(data) // 4}f", data)


def _tensor(tensor: Message) -> Tensor:
    name, raw = tensor.text(8), tensor.message(9)
    pairs = tuple((pair.text(1), pair.text(2)) for pair in tensor.parts(13))
    if bool(pairs) != (tensor.integer(14) == _EXTERNAL):
        raise InputError(f"tensor {name[:80]!a}: external data and its mark do not agree")
    if pairs and (raw is not None or tensor.numbers() & {4, 5, 6, 7, 10, 11}):
        raise InputError(f"tensor {name[:80]!a}: data both inside the file and outside")
    return Tensor(name, tensor.integer(2), tuple(tensor.integers(1)), raw, pairs or None)


def _value(value: Message) -> Value:
    name, kind = value.text(1), value.part(2)
    if kind.message(1) is None or kind.numbers() - {1, 6}:
        raise InputError(f"{name[:80]!a} is no tensor")
    content = kind.part(1)
    if content.message(2) is None:
        raise InputError(f"{name[:80]!a} has no shape")
    return Value(name, content.integer(1), tuple(_dim(dim) for dim in content.part(2).parts(1)))


def _dim(dim: Message) -> int | None:
    if {1, 2} <= dim.numbers():
        raise InputError("a dim has both a size and a name")
    return dim.integer(1) if 1 in dim.numbers() else None
