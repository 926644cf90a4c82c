"""A bundle's GGUF file: the backbone for llama.cpp, in one file of its own."""

from __future__ import annotations

from nextomni_edge.bundle.component_format import Stored
from nextomni_edge.formats.gguf import check_gguf


def check_stored(stored: Stored) -> set[str]:
    """`check_gguf` of a component."""
    return check_gguf(stored.path, stored.spec, stored.config.backbone, stored.precision)
