"""JSON as a file format: no duplicate keys, no NaN or infinity, bounded size and depth, whole characters."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from nextomni_edge.errors import InputError


def read_json(path: Path, limit: int) -> Any:
    """Parse a file of at most `limit` bytes; InputError names the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > limit:
        raise InputError(f"{path}: larger than {limit} bytes, the most that is read")
    return parse_json(data, str(path))


def parse_json(data: bytes, where: str) -> Any:
    """Parse bytes; InputError says `where` the fault is."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # an escape can spell half a character
    except UnicodeError as error:
        raise InputError(f"{where}: not UTF-8 text") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error})") from error
    return value


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
