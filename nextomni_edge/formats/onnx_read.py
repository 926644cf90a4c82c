"""Reads the parts of an ONNX file that a bundle's checks need, from protobuf's wire format. The
onnx package is not used, and no byte is trusted.

Field numbers are those of onnx.proto. Every fault is an InputError.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from nextomni_edge.errors import InputError
from nextomni_edge.formats.protobuf import Message

MAX_DEPTH: Final = 8
# all but training information, local functions and device placement
_MODEL_FIELDS: Final = {1, 2, 3, 4, 5, 6, 7, 8, 14}
_EXTERNAL: Final = 1


@dataclass(frozen=True)
class Value:
    """A graph's input or output; a dim is a size, or None where it is symbolic."""

    name: str
    element: int
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class Tensor:
    """A constant. `entries` are its external_data pairs, None where the data is inside the file
    (`raw` bytes of it, if raw)."""

    name: str
    element: int
    dims: tuple[int, ...]
    raw: int | None
    entries: tuple[tuple[str, str], ...] | None


@dataclass
class OnnxFile:
    """The facts of one file: `domains` imported, and `operators` used as (domain, name), in
    subgraphs too."""

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    domains: set[str] = field(default_factory=set)
    operators: set[tuple[str, str]] = field(default_factory=set)


def read_onnx(data: bytes) -> OnnxFile:
    """Parse a model file. InputError: not protobuf, no graph, or parts that a bundle may not
    hold."""
    model, found = Message(memoryview(data)), OnnxFile()
    for number in sorted(model.numbers() - _MODEL_FIELDS):
        raise InputError(
            f"model field {number} (functions, training information or newer) is not supported"
        )
    graph = model.message(7)
    if graph is None:
        raise InputError("no graph inside")
    for opset in model.messages(8):
        found.domains.add(Message(opset).text(1))
    top = Message(graph)
    found.inputs = [_value(value) for value in top.messages(11)]
    found.outputs = [_value(value) for value in top.messages(12)]
    _graph(top, found, 0)
    return found


def _graph(graph: Message, found: OnnxFile, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"graphs are nested more than {MAX_DEPTH} deep")
    if graph.messages(15):
        raise InputError("sparse tensors are not supported")
    found.tensors += [_tensor(tensor) for tensor in graph.messages(5)]
    for data in graph.messages(1):
        node = Message(data)
        found.domains.add(node.text(7))
        found.operators.add((node.text(7), node.text(4)))
        for attribute in node.messages(5):
            _attribute(Message(attribute), found, depth)


def _attribute(attribute: Message, found: OnnxFile, depth: int) -> None:
    if attribute.messages(22) or attribute.messages(23):
        raise InputError("sparse tensors are not supported")
    found.tensors += [
        _tensor(tensor) for tensor in [*attribute.messages(5), *attribute.messages(10)]
    ]
    for graph in [*attribute.messages(6), *attribute.messages(11)]:
        _graph(Message(graph), found, depth + 1)


def _tensor(data: memoryview) -> Tensor:
    tensor = Message(data)
    name, raw = tensor.text(8), tensor.message(9)
    pairs = tuple((pair.text(1), pair.text(2)) for pair in map(Message, tensor.messages(13)))
    if bool(pairs) != (tensor.integer(14) == _EXTERNAL):
        raise InputError(f"tensor {name!r}: external data and its mark do not agree")
    if pairs and (raw is not None or tensor.numbers() & {4, 5, 6, 7, 10, 11}):
        raise InputError(f"tensor {name!r}: data both inside the file and outside")
    return Tensor(
        name,
        tensor.integer(2),
        tuple(tensor.integers(1)),
        None if raw is None else len(raw),
        pairs or None,
    )


def _value(data: memoryview) -> Value:
    value = Message(data)
    name, kind = value.text(1), Message(value.message(2) or memoryview(b""))
    tensor = kind.message(1)
    if tensor is None or kind.numbers() - {1, 6}:
        raise InputError(f"{name!r} is no tensor")
    content = Message(tensor)
    shape = content.message(2)
    if shape is None:
        raise InputError(f"{name!r} has no shape")
    return Value(
        name, content.integer(1), tuple(_dim(Message(dim)) for dim in Message(shape).messages(1))
    )


def _dim(dim: Message) -> int | None:
    if {1, 2} <= dim.numbers():
        raise InputError("a dim has both a size and a name")
    return dim.integer(1) if 1 in dim.numbers() else None
