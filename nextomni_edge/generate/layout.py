"""Which rows of a sequence are generated, and their noise. Inside the loop every token is K sub-codes; text has K = 1."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.spec import Modality
from nextomni_edge.tokens.sequence import Sequence

Ids = NDArray[np.int64]
Float = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """The segments that a sequence generates (several for a video) and the positions (R,) of their rows."""

    modality: Modality
    segments: tuple[int, ...]
    lengths: tuple[int, ...]
    rows: Ids

    @classmethod
    def of(cls, sequence: Sequence) -> Layout:
        """UsageError: nothing is to be generated, or more than one modality is."""
        segments = sequence.generated()
        modalities = sorted({sequence.segments[index].modality for index in segments})
        if len(modalities) != 1:
            found = " and ".join(modalities) or "nothing"
            raise UsageError(f"{found} to generate: a run generates one modality; append a response, and one at a time")
        spans = sequence.spans()
        rows = np.concatenate([np.arange(*spans[index]) for index in segments])
        return cls(modalities[0], segments, tuple(len(sequence.segments[index]) for index in segments), rows)

    def split(self, x: Float) -> tuple[Float, ...]:
        """Tokens (R,K), or numbers beside them, as each segment holds them."""
        parts = np.split(x[:, 0] if self.modality == "text" else x, np.cumsum(self.lengths)[:-1])
        return tuple(part.copy() for part in parts)

    def fill(self, sequence: Sequence, x: Ids) -> Sequence:
        """The sequence with its generated segments holding tokens (R,K)."""
        for index, tokens in zip(self.segments, self.split(x), strict=True):
            sequence = sequence.with_tokens(index, tokens)
        return sequence


class BatchNoise:
    """Counter-based noise of B requests: each draw depends on its own request's seed and place alone."""

    def __init__(self, seeds: Many[int], layout: Layout, codebooks: int) -> None:
        self.noises = [Noise(seed) for seed in seeds]
        self.layout, self.codebooks = layout, codebooks

    def uniform(self, step: int, use: Use) -> Float:
        """Draws in [0, 1) of shape (B,R,K)."""
        places = list(zip(self.layout.segments, self.layout.lengths, strict=True))
        return np.stack(
            [np.concatenate([noise.uniform(at, step, use, n, self.codebooks) for at, n in places]) for noise in self.noises]
        )

    def start(self, entries: int) -> Ids:
        """x_0 (B,R,K), uniform over the symbols."""
        places = list(zip(self.layout.segments, self.layout.lengths, strict=True))
        return np.stack(
            [np.concatenate([noise.start(at, n, self.codebooks, entries) for at, n in places]) for noise in self.noises]
        )


def batches(sequences: Many[Sequence], limit: int) -> Iterator[list[int]]:
    """Indices of sequences that one forward can take together: same modalities, lengths and frozen segments, at most `limit`."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for index, sequence in enumerate(sequences):
        key = tuple((segment.modality, len(segment), segment.frozen) for segment in sequence.segments)
        alike.setdefault(key, []).append(index)
    for indices in alike.values():
        yield from (indices[start : start + limit] for start in range(0, len(indices), limit))
