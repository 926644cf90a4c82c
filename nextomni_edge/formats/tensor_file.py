"""One safetensors file, read or written. The whole header is validated before a tensor is read or
memory is allocated for it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.formats.strict_json import parse_json

MAX_HEADER: Final = 16 * 2**20
DTYPES: Final = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1),
    "U8": ("uint8", 1), "BOOL": ("bool", 1),
}  # fmt: skip
FLOATS: Final = ("float64", "float32", "float16", "bfloat16")
WIDTHS: Final = dict(DTYPES.values())  # bytes of a value, by dtype


@dataclass(frozen=True)
class Location:
    """The place of a tensor's little-endian bytes: `offset` and `nbytes` in `file`. `dtype` uses
    numpy's names, and "bfloat16"."""

    file: Path
    offset: int
    nbytes: int
    dtype: str
    shape: tuple[int, ...]


class TensorFile:
    """The tensors of a safetensors file, read one at a time. InputError: the file violates the
    format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locations = _read_header(path)

    def names(self) -> list[str]:
        return sorted(self._locations)

    def location(self, name: str) -> Location:
        if name not in self._locations:
            raise InputError(f"{self.path}: tensor {name} is missing")
        return self._locations[name]

    def tensor(self, name: str) -> NDArray[Any]:
        """One tensor; float16 and bfloat16 are widened to float32."""
        return read_tensor(self.location(name), name)


def read_tensor(location: Location, name: str) -> NDArray[Any]:
    """The tensor at a location; float16 and bfloat16 are widened to float32. InputError: the file
    is gone or cut off."""
    try:
        with open_regular(location.file) as file:
            file.seek(location.offset)
            data = file.read(location.nbytes)
    except OSError as error:
        raise InputError(f"{location.file}: cannot be read ({error.strerror})") from error
    if len(data) != location.nbytes:
        raise InputError(
            f"{location.file}: tensor {name} has {len(data)} bytes, expected {location.nbytes}"
        )
    return decode(data, location.dtype).reshape(location.shape)


def read_values(location: Location, start: int, count: int) -> NDArray[Any]:
    """`count` values of a tensor from index `start` on, flat; float16 and bfloat16 are widened to
    float32. InputError: cut off."""
    width = WIDTHS[location.dtype]
    with open_regular(location.file) as file:
        file.seek(location.offset + start * width)
        data = file.read(count * width)
    if len(data) != count * width:
        raise InputError(f"{location.file}: cut off while it was read")
    return decode(data, location.dtype)


def map_tensor(location: Location, name: str) -> NDArray[Any]:
    """The tensor at a location as read-only mapped memory, which is only read where it is touched.
    It is `read_tensor` where numpy has no such dtype, or the tensor is empty. InputError: the file
    is gone or cut off."""
    if location.dtype == "bfloat16" or not location.nbytes:
        return read_tensor(location, name)
    try:
        dtype = np.dtype(location.dtype).newbyteorder("<")
        with open_regular(location.file) as file:
            return np.memmap(file, dtype, "r", location.offset, location.shape)
    except (OSError, ValueError) as error:
        raise InputError(f"{location.file}: tensor {name} cannot be read ({error})") from error


def all_finite(table: NDArray[Any]) -> bool:
    """Whether every value is finite, checked in pieces."""
    values, step = table.reshape(-1), 2**22
    return all(
        bool(np.isfinite(values[start : start + step]).all())
        for start in range(0, values.size, step)
    )


def decode(data: bytes, dtype: str) -> NDArray[Any]:
    """Little-endian bytes as a flat array; float16 and bfloat16 are widened to float32."""
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    return array.astype(np.float32 if dtype == "float16" else np.dtype(dtype))


def write_tensors(file: IO[bytes], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a safetensors file, tensor by tensor."""
    for name in write_header(file, {name: (x.dtype.name, x.shape) for name, x in tensors.items()}):
        file.write(little_endian(tensors[name]))


def write_header(
    file: IO[bytes],
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    metadata: Mapping[str, str] | None = None,
) -> list[str]:
    """Write the header for tensors of these dtypes and shapes. Their bytes follow in the order that
    is returned, which is `ordered`'s."""
    codes = {kind: code for code, (kind, _) in DTYPES.items()}
    order = ordered(tensors)
    header, at = dict[str, object](), 0
    for name in order:
        dtype, shape = tensors[name]
        end = at + WIDTHS[dtype] * math.prod(shape)
        header[name] = {"dtype": codes[dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    noted = {"__metadata__": dict(metadata)} if metadata else {}
    text = json.dumps(noted | header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    return order


def ordered(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[str]:
    """Names of tensors as a file holds them: widest dtypes first, so that each is aligned."""
    return sorted(tensors, key=lambda name: (-WIDTHS[tensors[name][0]], name))


def little_endian(array: NDArray[Any]) -> memoryview:
    """An array's bytes, without a copy where it is contiguous and little-endian already."""
    return (
        np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
    )


def _read_header(path: Path) -> dict[str, Location]:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > size - 8:
                raise InputError(f"{path}: safetensors header is cut off ({size} bytes in all)")
            if length > MAX_HEADER:
                raise InputError(
                    f"{path}: safetensors header of {length} bytes, at most {MAX_HEADER} are read"
                )
            header = parse_json(file.read(length), f"{path}: safetensors header")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: safetensors header is no object")
    header.pop("__metadata__", None)
    found = {name: _location(path, name, entry, 8 + length) for name, entry in header.items()}
    _check_cover(path, found, 8 + length, size)
    return found


def _location(path: Path, name: str, entry: Any, base: int) -> Location:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"{path}: tensor {name} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(
            f"{path}: tensor {name} has dtype {dtype!r}, expected one of {', '.join(DTYPES)}"
        )
    for kind, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(
            type(number) is int and 0 <= number < 2**62 for number in numbers
        ):
            raise InputError(
                f"{path}: tensor {name} has {kind} {str(numbers)[:60]}, expected a list of sizes"
            )
    if len(shape) > 8 or len(offsets) != 2:
        raise InputError(
            f"{path}: tensor {name} has {len(shape)} dims and {len(offsets)} offsets, expected at"
            " most 8 and exactly 2"
        )
    kind, width = DTYPES[dtype]
    if offsets[1] - offsets[0] != math.prod(shape) * width:
        raise InputError(
            f"{path}: tensor {name} spans {offsets[1] - offsets[0]} bytes, its shape needs"
            f" {math.prod(shape) * width}"
        )
    return Location(path, base + offsets[0], offsets[1] - offsets[0], kind, tuple(shape))


def _check_cover(path: Path, found: dict[str, Location], start: int, size: int) -> None:
    """Check that the tensors cover the rest of the file, in one piece each, without overlap, as the
    format asks."""
    at = start
    for name, location in sorted(found.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if location.offset != at:
            raise InputError(
                f"{path}: tensor {name} begins at byte {location.offset}, expected {at}"
            )
        at += location.nbytes
    if at != size:
        raise InputError(f"{path}: tensors end at byte {at}, the file at {size}")
