"""Writes ONNX files of one node in protobuf's wire format: a device has no onnx package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

# onnx.proto's, by numpy's names
ELEMENTS: Final = {
    "float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
}  # fmt: skip
OPSET, IR = 21, 10
Value = tuple[str, tuple[int | None, ...]]  # dtype and sizes; None is free


def one_node(
    operator: str,
    given: Mapping[str, Value],
    made: tuple[str, Value],
    constants: Mapping[str, NDArray[Any]] | None = None,
    attributes: Mapping[str, int] | None = None,
    domain: str = "",
) -> bytes:
    """The file of `made = operator(*given, *constants)`, each by its name."""
    held = constants or {}
    node = b"".join(_field(1, name.encode()) for name in (*given, *held)) + _field(
        2, made[0].encode()
    )
    node += _field(4, operator.encode())
    for name, value in (attributes or {}).items():
        node += _field(5, _field(1, name.encode()) + _number(3, value) + _number(20, 2))
    node += _field(7, domain.encode())
    ends = b"".join(_field(11, _value(name, value)) for name, value in given.items()) + _field(
        12, _value(*made)
    )
    graph = (
        _field(1, node)
        + _field(2, operator.encode())
        + b"".join(_field(5, _tensor(*item)) for item in held.items())
        + ends
    )
    opsets = _field(8, _number(2, OPSET)) + (
        _field(8, _field(1, domain.encode()) + _number(2, 1)) if domain else b""
    )
    return _number(1, IR) + _field(7, graph) + opsets


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    return (
        dims
        + _number(2, ELEMENTS[array.dtype.name])
        + _field(8, name.encode())
        + _field(9, array.tobytes())
    )


def _value(name: str, value: Value) -> bytes:
    dtype, sizes = value
    shape = b"".join(_field(1, b"" if size is None else _number(1, size)) for size in sizes)
    return _field(1, name.encode()) + _field(
        2, _field(1, _number(1, ELEMENTS[dtype]) + _field(2, shape))
    )


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
