"""A backbone's GGUF file put together byte by byte, so that each byte can be wrong."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextomni_edge.formats.gguf import ALIGNMENT, metadata, tensor_shapes
from tests.bundle.build import small_config


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key: str, value: Any) -> bytes:
    if isinstance(value, bool):
        return text(key) + struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    return text(key) + struct.pack("<I", 8) + text(value)


def gguf_bytes(
    keys: Mapping[str, Any] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    kinds: Mapping[str, int] | None = None,
    offsets: Mapping[str, int] | None = None,
    magic: bytes = b"GGUF",
    version: int = 3,
) -> bytes:
    """A sound float32 file of tests.bundle.build's config, but for what is given."""
    config = small_config().backbone
    pairs = {**metadata(config), **(keys or {})}
    found = {**tensor_shapes(config), **(shapes or {})}
    head, at = magic + struct.pack("<IQQ", version, len(found), len(pairs)), 0
    head += b"".join(pair(key, value) for key, value in pairs.items())
    for name, shape in found.items():
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        head += struct.pack("<IQ", (kinds or {}).get(name, 0), (offsets or {}).get(name, at))
        size = 4
        for length in shape:
            size *= length
        at += -(-size // ALIGNMENT) * ALIGNMENT
    return head + bytes(-len(head) % ALIGNMENT + at)


def write_gguf(path: Path, **given: Any) -> Path:
    path.write_bytes(gguf_bytes(**given))
    return path
