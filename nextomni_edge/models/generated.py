"""A checkpoint without files: random tensors of a config's shapes, computed when they are read."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.checkpoints.directory import Checkpoint, TensorStore
from nextomni_edge.config import ModelConfig
from nextomni_edge.models.networks import expected_shapes

PERIOD: Final = 4_194_301  # values of the pool; a prime, so that no matrix repeats a row


class GeneratedCheckpoint(Checkpoint):
    """Deterministic in (config, seed). It serves sizes and speed, not answers.

    A tensor is a stretch of one pool of normal numbers. Its name decides the start, so that reading
    a part only costs a copy. Matrices are scaled by 1/√fan-in, norms are about 1, biases are small.
    """

    def __init__(self, config: ModelConfig, tokenizer: Path, seed: int = 0) -> None:
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            name: ((), shape) for name, shape in expected_shapes(config).items()
        }
        super().__init__(
            TensorStore(tokenizer.parent, shapes, {tokenizer.name: tokenizer}), config, tokenizer
        )
        self._seed = seed
        self._pool = np.random.default_rng(seed).standard_normal(PERIOD, np.float32)

    def dtype(self, name: str) -> str:
        return "float32"

    def values(self, name: str, start: int, count: int) -> NDArray[np.float32]:
        centre, spread = self._moments(name)
        at = (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") + start) % PERIOD
        found = np.empty(count, np.float32)
        for begin in range(0, count, PERIOD):
            piece = found[begin : begin + PERIOD]
            first = min(len(piece), PERIOD - at)
            piece[:first], piece[first:] = (
                self._pool[at : at + first],
                self._pool[: len(piece) - first],
            )
        found *= spread
        found += centre
        return found

    def tensor(self, name: str) -> NDArray[np.float32]:
        shape = self.shape(name)
        return self.values(name, 0, math.prod(shape)).reshape(shape)

    def table(self, name: str) -> NDArray[np.float32]:
        return self.tensor(name)

    def sha256(self) -> dict[str, str]:
        """The tokenizer's digest, and a digest of everything that decides the weights."""
        decided = json.dumps(
            {"config": self.config.to_json(), "seed": self._seed, "period": PERIOD}, sort_keys=True
        )
        return super().sha256() | {"random weights": hashlib.sha256(decided.encode()).hexdigest()}

    def _moments(self, name: str) -> tuple[np.float32, np.float32]:
        """Mean and standard deviation."""
        shape = self.shape(name)
        if len(shape) > 1:
            return np.float32(0), np.float32(math.prod(shape[1:]) ** -0.5)
        return np.float32(name.endswith(".weight")), np.float32(0.02)
