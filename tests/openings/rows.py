"""A toy format and its runtime: the text table as rows of a safetensors file, and a runtime that
looks them up (nextomni_edge/runtimes/rows.py in the tests' copy)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nextomni_edge.bundle.component_format import Stored
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.tensor_file import TensorFile, map_tensor
from nextomni_edge.runtimes.base import Array, Runtime, Session
from nextomni_edge.spec import GraphSpec, Wire


def table(path: Path) -> Array:
    return map_tensor(TensorFile(path).location("rows"), "rows")


def check_stored(stored: Stored) -> set[str]:
    found, config = table(stored.path).shape, stored.config
    expected = (config.text.vocabulary_size, config.backbone.hidden_size)
    if found != expected:
        raise InputError(f"{stored.path}: rows of shape {found}, expected {expected}")
    return set()


class RowsSession(Session):
    def __init__(self, spec: GraphSpec, rows: Array) -> None:
        super().__init__(spec, "numpy")
        self.rows = rows

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        return {Wire.EMBEDDINGS: self.rows[inputs[Wire.TOKENS]]}


class RowsRuntime(Runtime):
    def providers(self) -> list[str]:
        return ["numpy"]

    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        if component != "embed_text":
            raise UsageError(f"runtime rows holds text tables, found {component}")
        return RowsSession(spec, np.array(table(file)))
