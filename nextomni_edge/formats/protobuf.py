"""Protobuf's wire format, read field by field: no library, and no byte trusted. Every fault is an
InputError.

Reading is linear in bytes, and a file's messages share one budget of fields: a field of two bytes
takes two hundred of them in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nextomni_edge.errors import InputError

# of one file: twice what the Core ML program of a 28-layer model holds
MAX_FIELDS: Final = 2**18
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Budget:
    """How many fields, and numbers of packed fields, one file may still have."""

    def __init__(self, fields: int = MAX_FIELDS) -> None:
        self._fields = self._left = fields

    def take(self, count: int = 1) -> None:
        """InputError: the file has more fields than a graph needs."""
        self._left -= count
        if self._left < 0:
            raise InputError(f"more than {self._fields} fields, the most that are read")


class Message:
    """The fields of one protobuf message, by number, in order. The messages inside it share its
    budget."""

    def __init__(self, data: memoryview, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(data, self._budget):
            self._fields.setdefault(number, []).append(value)

    def numbers(self) -> set[int]:
        return set(self._fields)

    def messages(self, number: int) -> list[memoryview]:
        """The values of a repeated message, string or bytes field."""
        found = self._fields.get(number, [])
        for value in found:
            if isinstance(value, int):
                raise InputError(f"field {number} is a number, expected bytes")
        return [value for value in found if isinstance(value, memoryview)]

    def message(self, number: int) -> memoryview | None:
        """A field that may occur once. Protobuf libraries merge or drop repeats, so a repeat could
        hide a second meaning."""
        found = self.messages(number)
        if len(found) > 1:
            raise InputError(f"field {number} stands {len(found)} times, expected once")
        return found[0] if found else None

    def parts(self, number: int) -> Iterator[Message]:
        """The messages of a repeated field, each read when it is asked for."""
        return (Message(data, self._budget) for data in self.messages(number))

    def part(self, number: int) -> Message:
        """The message of a field that may stand once; one without fields where it is absent."""
        return Message(self.message(number) or memoryview(b""), self._budget)

    def text(self, number: int) -> str:
        return _text(self.message(number) or memoryview(b""))

    def integer(self, number: int) -> int:
        found = self.integers(number)
        if len(found) > 1:
            raise InputError(f"field {number} stands {len(found)} times, expected once")
        return found[0] if found else 0

    def integers(self, number: int) -> list[int]:
        """A repeated int64 field, packed or not."""
        found: list[int] = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                found.append(value)
            else:
                found += _packed(value, self._budget)
        return [value - 2**64 if value >= 2**63 else value for value in found]


def _fields(data: memoryview, budget: Budget) -> Iterator[tuple[int, int | memoryview]]:
    at, end = 0, len(data)
    while at < end:
        budget.take()
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise InputError("not a protobuf message (field 0)")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise InputError(f"not a protobuf message (wire type {kind})")
        if length > end - at:
            raise InputError(f"cut off: a field of {length} bytes where {end - at} are left")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] < 128:  # nearly all of them
        return data[at], at + 1
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise InputError("cut off within a number")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >= 2**64:
                break
            return value, at
    raise InputError("a number of more than 64 bits")


def _packed(data: memoryview, budget: Budget) -> Iterator[int]:
    at = 0
    while at < len(data):
        budget.take()
        value, at = _varint(data, at)
        yield value


def _text(data: memoryview) -> str:
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("a name is not UTF-8") from error
