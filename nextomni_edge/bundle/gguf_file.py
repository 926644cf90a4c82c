"""A bundle's GGUF file: the backbone for llama.cpp, in one file of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from nextomni_edge.bundle.component_format import Stored
from nextomni_edge.formats.gguf import check_gguf, read_gguf


def check_stored(stored: Stored) -> set[str]:
    """`check_gguf` of a component."""
    return check_gguf(stored.path, stored.spec, stored.config.backbone, stored.precision)


def described(path: Path) -> dict[str, Any]:
    """What `inspect` shows for a file: its tensors by the type that llama.cpp stored them as, which
    is another where rows are no whole blocks."""
    types = Counter(tensor.type for tensor in read_gguf(path).tensors.values())
    return {"form": {"stored": dict(sorted(types.items()))}}
