"""A model of small whole numbers, which float32 holds exactly: any language computes the same
tokens with it.

Its twin is IntegerComponents.swift.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Array, Session
from nextomni_edge.spec import GraphSpec, Wire
from nextomni_edge.tokens.text import TextTokenizer

MODULUS = 97
SPREAD = 16.0  # logits are whole numbers over this


class IntegerSession(Session):
    """One component. Everything is taken modulo 97."""

    def __init__(self, spec: GraphSpec) -> None:
        super().__init__(spec, "whole numbers")

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        name, found = self.spec.outputs[0].name, self._compute(inputs)
        return {name: found.astype(np.float32)}

    def _compute(self, inputs: Mapping[str, Array]) -> Array:
        if self.spec.name.startswith("embed_"):
            return self._embed(inputs[Wire.TOKENS if Wire.TOKENS in inputs else Wire.CODES])
        if self.spec.name == "backbone":
            return self._backbone(inputs[Wire.EMBEDDINGS].astype(np.int64), inputs[Wire.POSITIONS])
        return self._head(inputs[Wire.HIDDEN].astype(np.int64), inputs.get(Wire.CODES))

    def _embed(self, tokens: Array) -> Array:
        codes = tokens.reshape(*tokens.shape[:2], -1)
        (*_, width) = self.spec.outputs[0].dims
        h, k = np.arange(width), np.arange(codes.shape[2])
        return (codes[..., None] * (31 + 2 * k[:, None]) + h * 17).sum(axis=2) % MODULUS

    def _backbone(self, embeddings: Array, positions: Array) -> Array:
        mixed = 3 * embeddings + embeddings.sum(axis=1, keepdims=True)
        return (mixed + 7 * positions[..., None] + np.arange(embeddings.shape[2])) % MODULUS

    def _head(self, hidden: Array, codes: Array | None) -> Array:
        shape = self.spec.outputs[0].dims[2:]
        codebooks, entries = shape if len(shape) == 2 else (1, shape[0])
        state = (hidden * (np.arange(hidden.shape[2]) + 1)).sum(axis=2)[..., None, None]
        k, c = np.arange(codebooks)[:, None], np.arange(entries)
        total = state + 13 * c * c + 29 * k
        if codes is not None:
            before = np.concatenate([np.zeros_like(codes[..., :1]), codes[..., :-1]], axis=2)
            total = total + 11 * before[..., None] * c
        logits = total % MODULUS / SPREAD
        return logits if len(shape) == 2 else logits[:, :, 0]


def integer_model(config: ModelConfig, tokenizer: Path, tables: Mapping[str, Array]) -> EdgeModel:
    sessions = {name: IntegerSession(spec) for name, spec in graph_specs(config).items()}
    return EdgeModel(config, TextTokenizer(tokenizer), sessions.__getitem__, tables.__getitem__)
