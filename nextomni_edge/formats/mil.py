"""Reads a Core ML model file (an ML Program) from protobuf's wire format. No vendor library is
used, and no byte is trusted.

Field numbers are those of coremltools' Model.proto, FeatureTypes.proto and MIL.proto. Every fault
is an InputError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.formats.protobuf import Message

SPECIFICATION: Final = 9  # of iOS 18 and macOS 15
# what can stand at a model's border
ELEMENTS: Final = {65568: "float32", 65552: "float16", 131104: "int32"}
DTYPES: Final = {
    1: "bool", 2: "string", 10: "float16", 11: "float32", 21: "int8", 22: "int16", 23: "int32",
    25: "int4", 31: "uint8", 32: "uint16", 35: "uint4", 38: "uint6",
}  # fmt: skip
# of what numpy has not: values stand one after another, low bits first
BITS: Final = {"int4": 4, "uint4": 4, "uint6": 6}
MAX_RANK: Final = 8
_MAIN: Final = "main"


@dataclass(frozen=True)
class Feature:
    """An input, output or state: its dtype, an input's bounds for each axis (inclusive), and its
    shapes where those are enumerated."""

    name: str
    dtype: str
    bounds: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Blob:
    """A constant in the package's weights, `offset` bytes into the file."""

    file: str
    offset: int


@dataclass(frozen=True)
class Constant:
    """A value that the program holds: numbers, a text, or a place in the weights."""

    dtype: str
    shape: tuple[int, ...]
    value: NDArray[Any] | str | Blob


@dataclass(frozen=True)
class Operation:
    """One operator; an input is one value or several, each the name of an earlier output or a
    constant."""

    type: str
    inputs: dict[str, tuple[str | Constant, ...]]
    outputs: tuple[tuple[str, str], ...]  # (name, dtype)
    attributes: dict[str, Constant]


@dataclass(frozen=True)
class MilProgram:
    """A model file. `results` are the values of the outputs, in order and with their names."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    operations: tuple[Operation, ...]
    results: tuple[str, ...]
    states: tuple[Feature, ...] = ()

    def stored(self) -> Iterator[tuple[Blob, Constant]]:
        """Every place in the weights that the program reads, with the constant that is there."""
        for operation in self.operations:
            bound = (value for values in operation.inputs.values() for value in values)
            for constant in (*operation.attributes.values(), *bound):
                if isinstance(constant, Constant) and isinstance(constant.value, Blob):
                    yield constant.value, constant


def read_program(data: bytes) -> MilProgram:
    """Parse a model file. InputError: no ML Program of this specification, or one with unsupported
    parts."""
    model = Message(memoryview(data))
    if model.integer(1) != SPECIFICATION:
        raise InputError(
            f"Core ML specification {model.integer(1)}, expected {SPECIFICATION} (iOS 18)"
        )
    for number in sorted(model.numbers() - {1, 2, 502}):
        raise InputError(f"model field {number} is not supported, expected an ML Program")
    description, program = _required(model, 2, "description"), _required(model, 502, "ML Program")
    for number in sorted(description.numbers() - {1, 10, 13, 100}):
        raise InputError(f"description field {number} (functions or newer) is not supported")
    main = _required_key(program, 2, _MAIN)
    block = _required_key(main, 3, main.text(2))
    return MilProgram(
        tuple(_feature(part) for part in description.parts(1)),
        tuple(_feature(part) for part in description.parts(10)),
        tuple(_operation(part) for part in block.parts(3)),
        tuple(bytes(name).decode("utf-8", "replace") for name in block.messages(2)),
        tuple(_state(part) for part in description.parts(13)),
    )


def _required(message: Message, number: int, what: str) -> Message:
    if message.message(number) is None:
        raise InputError(f"no {what} inside")
    return message.part(number)


def _required_key(message: Message, number: int, key: str) -> Message:
    """The one entry of a map."""
    entries = _map(message, number)
    if entries.keys() != {key}:
        raise InputError(f"entries {sorted(entries)[:4]}, expected only {key!r}")
    return entries[key]


def _map(message: Message, number: int) -> dict[str, Message]:
    found: dict[str, Message] = {}
    for entry in message.parts(number):
        if entry.text(1) in found:
            raise InputError(f"key {entry.text(1)[:80]!r} stands twice")
        found[entry.text(1)] = entry.part(2)
    return found


def _feature(feature: Message) -> Feature:
    name, kind = feature.text(1), _required(feature, 3, "type")
    return _array(name, kind, 5)


def _state(feature: Message) -> Feature:
    name, kind = feature.text(1), _required(feature, 3, "type")
    return _array(name, _required(kind, 8, f"state type of {name[:80]!a}"), 1)


def _array(name: str, kind: Message, number: int) -> Feature:
    array = _required(kind, number, f"array type of {name[:80]!a}")
    if array.integer(2) not in ELEMENTS:
        raise InputError(
            f"{name[:80]!r} has element type {array.integer(2)}, expected one of"
            f" {', '.join(ELEMENTS.values())}"
        )
    shapes = tuple(tuple(shape.integers(1)) for shape in array.part(21).parts(1))
    bounds = tuple((part.integer(1), part.integer(2)) for part in array.part(31).parts(1))
    if shapes:
        bounds = tuple((min(sizes), max(sizes)) for sizes in zip(*shapes, strict=False))
    return Feature(
        name,
        ELEMENTS[array.integer(2)],
        bounds or tuple((size, size) for size in array.integers(1)),
        shapes,
    )


def _operation(operation: Message) -> Operation:
    kind = operation.text(1)
    if operation.messages(4):
        raise InputError(f"operator {kind[:80]!r} holds blocks of its own, which are not supported")
    inputs = {
        key: tuple(_binding(binding) for binding in argument.parts(1))
        for key, argument in _map(operation, 2).items()
    }
    outputs = tuple((part.text(1), _tensor_type(part.part(2))[0]) for part in operation.parts(3))
    return Operation(
        kind,
        inputs,
        outputs,
        {key: _constant(value) for key, value in _map(operation, 5).items()},
    )


def _binding(binding: Message) -> str | Constant:
    return binding.text(1) if binding.message(2) is None else _constant(binding.part(2))


def _tensor_type(value: Message) -> tuple[str, tuple[int, ...]]:
    """dtype, and the constant sizes (0 where a size is free)."""
    tensor = _required(value, 1, "tensor type")
    if tensor.integer(1) not in DTYPES:
        raise InputError(f"data type {tensor.integer(1)} is not supported")
    sizes = [dim.part(1).integer(1) for dim in tensor.parts(3)]
    if len(sizes) > MAX_RANK or not all(0 <= size < 2**40 for size in sizes):
        raise InputError(f"a value of rank {len(sizes)}, expected at most {MAX_RANK} sizes")
    return DTYPES[tensor.integer(1)], tuple(sizes)


def _constant(value: Message) -> Constant:
    dtype, shape = _tensor_type(value.part(2))
    if value.message(5) is not None:
        blob = value.part(5)
        return Constant(dtype, shape, Blob(blob.text(1), blob.integer(2)))
    tensor = _required(_required(value, 3, "value"), 1, "tensor")
    if dtype == "string":
        return Constant(dtype, shape, _required(tensor, 4, "text").text(1))
    array = _numbers(tensor, dtype, math.prod(shape))
    if array.size != math.prod(shape):
        raise InputError(
            f"a constant of {array.size} numbers, its shape {shape} needs {math.prod(shape)}"
        )
    return Constant(dtype, shape, array.reshape(shape))


def _numbers(tensor: Message, dtype: str, count: int) -> NDArray[Any]:
    if dtype in BITS:
        packed = np.frombuffer(bytes(_required(tensor, 7, "bytes").message(1) or b""), np.uint8)
        if packed.size != -(-count * BITS[dtype] // 8):
            raise InputError(
                f"{packed.size} bytes of {dtype}, {count} values need"
                f" {-(-count * BITS[dtype] // 8)}"
            )
        return unpacked(packed, dtype, count)
    if tensor.message(1) is not None:
        return _little(b"".join(tensor.part(1).messages(1)), "float32").astype(dtype)
    for number in (2, 3, 5):  # int32, bool, int64
        if tensor.message(number) is not None:
            return np.array(tensor.part(number).integers(1), np.int64).astype(dtype)
    if tensor.message(7) is not None:
        return _little(bytes(tensor.part(7).message(1) or b""), dtype)
    return np.zeros(0, dtype)


def numpy_dtype(dtype: str) -> str:
    """The numpy dtype that holds the values of a dtype."""
    return dtype if dtype not in BITS else "int8" if dtype == "int4" else "uint8"


def unpacked(data: NDArray[np.uint8], dtype: str, count: int) -> NDArray[Any]:
    """The first `count` values of less than a byte each: (n,) bytes → (count,) uint8, int8 for
    int4."""
    bits = np.unpackbits(data, bitorder="little")[: count * BITS[dtype]].reshape(count, BITS[dtype])
    values: NDArray[np.uint8] = np.packbits(bits, axis=1, bitorder="little")[:, 0]
    return (values ^ 8).astype(np.int8) - np.int8(8) if dtype == "int4" else values


def _little(data: bytes, dtype: str) -> NDArray[Any]:
    kind = np.dtype(dtype).newbyteorder("<")
    if len(data) % kind.itemsize:
        raise InputError(f"{len(data)} bytes are no whole number of {dtype}")
    return np.frombuffer(data, kind)
