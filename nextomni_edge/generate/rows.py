"""Which rows of a sequence are generated. Inside the loop every token has K sub-codes; text has K =
1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import UsageError
from nextomni_edge.spec import Modality
from nextomni_edge.tokens.sequence import Sequence

Ids = NDArray[np.int64]
Float = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """The segments that a sequence generates (several for a video) and the positions (R,) of their
    rows."""

    modality: Modality
    segments: tuple[int, ...]
    lengths: tuple[int, ...]
    rows: Ids

    @classmethod
    def of(cls, sequence: Sequence) -> Layout:
        """UsageError: nothing is to be generated, or several modalities are."""
        segments = sequence.generated()
        modalities = sorted({sequence.segments[index].modality for index in segments})
        if len(modalities) != 1:
            found = " and ".join(modalities) or "nothing"
            raise UsageError(
                f"{found} to generate: a run generates one modality; append a response, and one at"
                " a time"
            )
        spans = sequence.spans()
        rows = np.concatenate([np.arange(*spans[index]) for index in segments])
        return cls(
            modalities[0],
            segments,
            tuple(len(sequence.segments[index]) for index in segments),
            rows,
        )

    @property
    def places(self) -> Iterator[tuple[int, int]]:
        """(segment, tokens) of each generated segment, which place its noise."""
        return zip(self.segments, self.lengths, strict=True)

    def split(self, x: Float) -> tuple[Float, ...]:
        """Tokens (R,K), or numbers of that shape, as each segment holds them."""
        parts = np.split(x[:, 0] if self.modality == "text" else x, np.cumsum(self.lengths)[:-1])
        return tuple(part.copy() for part in parts)

    def fill(self, sequence: Sequence, x: Ids) -> Sequence:
        """The sequence with its generated segments holding tokens (R,K)."""
        for index, tokens in zip(self.segments, self.split(x), strict=True):
            sequence = sequence.with_tokens(index, tokens)
        return sequence
