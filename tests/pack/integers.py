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
        found = [self._compute(inputs)]
        if self.spec.states:  # keys, and values that are the same
            found += [self._split(found[0])] * 2
        named = zip(self.spec.outputs, found, strict=True)
        return {
            tensor.name: array.astype(np.float32)
            for tensor, array in named
            if tensor.name in outputs
        }

    def _compute(self, inputs: Mapping[str, Array]) -> Array:
        if self.spec.name.startswith("embed_"):
            return self._embed(inputs[Wire.TOKENS if Wire.TOKENS in inputs else Wire.CODES])
        if self.spec.name == "backbone":
            return self._backbone(inputs)
        return self._head(inputs[Wire.HIDDEN].astype(np.int64), inputs.get(Wire.CODES))

    def _embed(self, tokens: Array) -> Array:
        codes = tokens.reshape(*tokens.shape[:2], -1)
        (*_, width) = self.spec.outputs[0].dims
        h, k = np.arange(width), np.arange(codes.shape[2])
        return (codes[..., None] * (31 + 2 * k[:, None]) + h * 17).sum(axis=2) % MODULUS

    def _backbone(self, inputs: Mapping[str, Array]) -> Array:
        """Every row sees the sum of what it attends to."""
        embeddings, past = inputs[Wire.EMBEDDINGS].astype(np.int64), inputs[Wire.PAST_KEYS]
        batch, _, width = embeddings.shape
        kept = past.transpose(1, 3, 0, 2, 4).reshape(batch, -1, width).astype(np.int64)
        seen = np.concatenate([kept, embeddings], axis=1) * inputs[Wire.ATTENTION_MASK][..., None]
        mixed = 3 * embeddings + seen.sum(axis=1, keepdims=True)
        return (mixed + 7 * inputs[Wire.POSITIONS][..., None] + np.arange(width)) % MODULUS

    def _split(self, hidden: Array) -> Array:
        """Hidden states (B,R,H) as keys (layers,B,kv_heads,R,head_dim), of as many numbers: what a
        prompt saw shows in what its response sees."""
        layers, _, heads, _, size = self.spec.outputs[1].dims
        parts = hidden.reshape(*hidden.shape[:2], layers, heads, size)
        return parts.transpose(2, 0, 3, 1, 4)

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
