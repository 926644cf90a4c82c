"""JSON as a file format: no duplicate keys, no NaN or infinity, bounded size and depth, whole
characters."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeVar

from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import read_regular

T = TypeVar("T")
MAX_DEPTH: Final = 64


def read_json(path: Path, limit: int) -> Any:
    """Parse a file of at most `limit` bytes; InputError names the file and what is wrong with
    it."""
    return parse_json(read_regular(path, limit), str(path))


def parse_json(data: bytes, where: str) -> Any:
    """Parse bytes. InputError says `where` the fault is."""
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite
        )
        if "\\u" in text:
            # an escape can spell half a character
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise InputError(f"{where}: not UTF-8 text") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error})") from error
    if not _shallow(value):
        raise InputError(f"{where}: nested too deeply")
    return value


def _shallow(value: Any) -> bool:
    """Whether what walks the value by recursion can: no more than MAX_DEPTH lists and objects are
    in one another."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = (
            [
                inner
                for outer in level
                for inner in (outer.values() if isinstance(outer, dict) else outer)
                if isinstance(inner, dict | list)
            ]
            if isinstance(level[0], dict | list)
            else []
        )
        if not level:
            return True
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} appears twice")
            seen.add(key)
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is out of range")
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)  # compiles every annotation: most of the time of reading


def read_dataclass(cls: type[T], data: object, where: str) -> T:
    """Build a dataclass from JSON data, refusing unknown keys (the nearest name is offered),
    missing keys and wrong types."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: found {type(data).__name__}, expected an object")
    hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            raise InputError(
                f"{where}: unknown key {str(key)[:80]!r}"
                + (f" (did you mean {near[0]!r}?)" if near else "")
            )
    values: dict[str, Any] = {}
    for name, f in fields.items():
        if name in data:
            values[name] = read_value(hints[name], data[name], f"{where}.{name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: key {name!r} is missing")
    return cls(**values)


def read_value(kind: Any, value: Any, where: str) -> Any:
    """Check one JSON value against a type hint: scalars, literals, tuples, dicts, optionals and
    dataclasses."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return read_dataclass(typing.cast(type[Any], kind), value, where)
    if origin is Literal:
        if value not in args or isinstance(value, bool):
            raise InputError(
                f"{where}: found {_shown(value)}, expected one of {', '.join(map(repr, args))}"
            )
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return read_value(next(arg for arg in args if arg is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(
            read_value(args[0], item, f"{where}[{index}]") for index, item in enumerate(value)
        )
    if origin is dict and isinstance(value, Mapping):
        return {
            str(key): read_value(args[1], item, f"{where}.{key}") for key, item in value.items()
        }
    if (
        kind is float
        and isinstance(value, int)
        and not isinstance(value, bool)
        and abs(value) < 2**1023
    ):
        value = float(value)
    if (
        not isinstance(kind, type)
        or origin is not None
        or not isinstance(value, kind)
        or (kind is int and isinstance(value, bool))
    ):
        raise InputError(
            f"{where}: found {_shown(value)}, expected {getattr(kind, '__name__', kind)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: found {value!r}, expected a finite number")
    return value


def _shown(value: object) -> str:
    """A JSON value for an error's one line."""
    if isinstance(value, (list, Mapping)):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value)[:80]
