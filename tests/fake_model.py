"""A stand-in for a model where only what is stored and found counts: embeddings are a pure function
of the tokens."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer


class FakeModel:
    """Counts its embeddings; `seconds` is what each takes."""

    def __init__(self, checkpoint: Path, seconds: float = 0.0) -> None:
        self.config = ModelConfig.load(checkpoint / "config.json")
        self.tokenizer = TextTokenizer(checkpoint / "tokenizer.json")
        self.seconds, self.embedded = seconds, 0

    def encode(self, modality: str, media: NDArray[np.float32]) -> NDArray[np.int64]:
        return self.encode_audio(media) if modality == "audio" else self.encode_image(media)

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.int64]:
        image = self.config.image
        codes = np.rint(
            (pixels.mean(axis=(-1, -2, -3)) + 1) * (image.codebook.entries - 1) / 2
        ).astype(np.int64)
        return np.broadcast_to(
            codes[..., None, None], (*codes.shape, image.positions, image.codebook.codebooks)
        ).copy()

    def encode_audio(self, log_mel: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.full((len(log_mel), self.config.audio.codebook.codebooks), 3, dtype=np.int64)

    def embed(self, sequence: Sequence) -> NDArray[np.float32]:
        self.embedded += 1
        time.sleep(self.seconds)
        tokens = np.concatenate([segment.tokens.reshape(-1) for segment in sequence.segments])
        row = np.random.default_rng(tokens.astype(np.uint64)).normal(
            size=self.config.backbone.hidden_size
        )
        return (row / np.linalg.norm(row)).astype(np.float32)
