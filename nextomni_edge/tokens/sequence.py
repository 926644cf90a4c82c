"""The only datum that crosses layers: a sequence of segments, each of one modality, given or to be
generated (METHOD 1)."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.spec import Modality
from nextomni_edge.tokens.text import SpecialTokens

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """`tokens`: text ids (n,) or sub-codes (n,K), int64. Given media may also hold continuous
    features (n,H), float32: the rows that the backbone reads. `frozen` segments are given, the
    others are generated."""

    modality: Modality
    tokens: NDArray[Any]
    frozen: bool = True

    @property
    def continuous(self) -> bool:
        """Whether the tokens are continuous features instead of symbols."""
        return bool(self.tokens.dtype == np.float32)

    def __post_init__(self) -> None:
        rank = 1 if self.modality == "text" else 2
        features = self.continuous and self.modality != "text" and self.frozen
        if self.tokens.ndim != rank or not (features or self.tokens.dtype == np.int64):
            raise ValueError(
                f"{self.modality} segment: int64 of rank {rank} expected, found {self.tokens.dtype}"
                f" of {self.tokens.shape}"
            )

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Sequence:
    """Segments in order; positions count 0, 1, 2, … through all of them."""

    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        return sum(len(segment) for segment in self.segments)

    def spans(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) position of every segment."""
        stops = np.cumsum([0, *(len(segment) for segment in self.segments)])
        return tuple((int(start), int(stop)) for start, stop in itertools.pairwise(stops))

    def generated(self) -> tuple[int, ...]:
        """Indices of the segments to generate."""
        return tuple(index for index, segment in enumerate(self.segments) if not segment.frozen)

    @property
    def prompt_length(self) -> int:
        """Positions before the first generated one; all positions where nothing is generated."""
        generated = self.generated()
        return self.spans()[generated[0]][0] if generated else self.length

    def with_tokens(self, index: int, tokens: Ids) -> Sequence:
        """A copy in which segment `index` holds `tokens`."""
        segments = list(self.segments)
        segments[index] = dataclasses.replace(segments[index], tokens=tokens)
        return Sequence(tuple(segments))


def unconditional(sequence: Sequence, special: SpecialTokens) -> Sequence:
    """The guidance branch without its condition (METHOD 3). The given text, role words included,
    becomes the null id at the same length. Markers of media, the media and everything generated
    stay."""
    segments = []
    for segment in sequence.segments:
        if segment.frozen and segment.modality == "text":
            kept = np.isin(segment.tokens, special.markers)
            segment = dataclasses.replace(
                segment, tokens=np.where(kept, segment.tokens, np.int64(special.null))
            )
        segments.append(segment)
    return Sequence(tuple(segments))
