"""How the fuzzer damages an input: bytes of any file, or the values of a JSON document."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

LARGEST = 2**18
LARGE = 1e300  # a larger number has no half
INTERESTING = [
    b"\x00", b"\xff", b"\x7f", b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x01", b"0", b"-1", b"1e999",
    b"9223372036854775808", b"null", b"[]", b"{}", b'"', b"\\ud800", b"NaN", b"\xff\xff\xff\x7f",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 7, 2**31, 2**53, 2**70, 0.5, -0.0, 1e-320, 1e308, "", "x",
    "\x1b[2J", "../x", "\ud800", "漢" * 300, [], {}, [[]], [None], {"": None}, [0] * 1000,
]  # fmt: skip


def damaged(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to six changes. Half of the JSON documents stay JSON: only then does a reader come to
    the values."""
    if data[:1] == b"{" and chance.random() < 0.5:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            pass  # it was damaged before
        else:
            for _ in range(chance.randint(1, 3)):
                _damage_value(document, chance)
            return json.dumps(document).encode()[:LARGEST]
    return _damage_bytes(data, others, chance)


def _damage_bytes(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Bytes flipped, removed, repeated, inserted, or taken from another input."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randint(0, len(found)), chance.choice((1, 1, 2, 4, 8, 64))
        kind = chance.randrange(6)
        if kind == 0 and found:
            found[at % len(found)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = found[at : at + length] * chance.choice((1, 2, 100))
        elif kind == 3:
            found[at : at + chance.choice((0, length))] = chance.choice(INTERESTING)
        elif kind == 4:
            found[at:at] = chance.randbytes(length)
        else:
            other = chance.choice(others)
            start = chance.randint(0, len(other))
            found[at : at + length] = other[start : start + length]
    return bytes(found[:LARGEST])


def _damage_value(document: Any, chance: random.Random) -> None:
    """One value somewhere in the document is replaced, removed, doubled or changed a little."""
    place = document
    while True:
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = chance.choice(keys)
        deeper = isinstance(place[key], dict | list) and place[key]
        if not deeper or chance.random() < 0.2:
            break
        place = place[key]
    kind, value = chance.randrange(5), place[key]
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, list):
        place.insert(key, copy.deepcopy(value))
    elif kind == 1:
        place[f"{key}{chance.choice(('', 'x', '.'))}"] = place.pop(key)
    elif kind == 2 and isinstance(value, int | float) and abs(value) < LARGE:
        place[key] = value * chance.choice((-1, 2, 0.5, 1000)) + chance.choice((-1, 0, 1))
    elif kind == 2 and isinstance(value, str):
        place[key] = value[: chance.randint(0, len(value))] + chance.choice(("", "\x00", value))
    else:
        place[key] = copy.deepcopy(chance.choice(VALUES))
