"""Requests that share their forwards: their generated rows, their padding, and the noise of all."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.path import Path
from nextomni_edge.generate.rows import Float, Ids, Layout
from nextomni_edge.spec import Modality
from nextomni_edge.tokens.sequence import Sequence

Mask = NDArray[np.bool_]


class Batch:
    """B requests that generate one modality. A shorter one is padded at its end, and so are its
    generated rows.

    rows (B,R): position of each generated row, 0 where `real` (B,R) is False. attended (B,S): False
    at padding, which nothing attends to. So no request sees another, or its length. prompt (B,S):
    before the first generated row.
    """

    def __init__(self, sequences: Many[Sequence], seeds: Many[int]) -> None:
        self.sequences, self.seeds = list(sequences), list(seeds)
        self.layouts = [Layout.of(sequence) for sequence in sequences]
        self.modality: Modality = self.layouts[0].modality
        self.lengths = np.array([sequence.length for sequence in sequences])
        counts = np.array([len(layout.rows) for layout in self.layouts])
        self.attended: Mask = np.arange(self.lengths.max()) < self.lengths[:, None]
        self.prompt: Mask = (
            np.arange(self.lengths.max())
            < np.array([each.prompt_length for each in sequences])[:, None]
        )
        self.real: Mask = np.arange(counts.max()) < counts[:, None]
        self.rows: Ids = np.zeros(self.real.shape, np.int64)
        for own, layout in zip(self.rows, self.layouts, strict=True):
            own[: len(layout.rows)] = layout.rows

    def __len__(self) -> int:
        return len(self.sequences)

    def own(self, request: int, x: Float) -> Float:
        """The numbers of one request, out of (B,R,…), without padding."""
        values: Float = x[request, : len(self.layouts[request].rows)]
        return values

    def split(self, request: int, x: Float) -> tuple[Float, ...]:
        """Tokens (B,R,K), or numbers of that shape, of one request as its segments hold them."""
        return self.layouts[request].split(self.own(request, x))

    def fill(self, x: Ids) -> list[Sequence]:
        """The sequences with their generated segments holding tokens (B,R,K)."""
        pairs = enumerate(zip(self.layouts, self.sequences, strict=True))
        return [
            layout.fill(sequence, self.own(request, x)) for request, (layout, sequence) in pairs
        ]


class BatchNoise:
    """Counter-based noise of B requests. Each draw only depends on its own request's seed and
    place. Padding has none."""

    def __init__(self, batch: Batch, codebooks: int) -> None:
        self.batch, self.codebooks = batch, codebooks
        self.noises = [Noise(seed) for seed in batch.seeds]

    def uniform(self, step: int, use: Use) -> Float:
        """Draws in [0, 1) of shape (B,R,K); 0 at padding."""
        out = np.zeros((*self.batch.real.shape, self.codebooks))
        for own, noise, layout in zip(out, self.noises, self.batch.layouts, strict=True):
            draws = [noise.uniform(at, step, use, n, self.codebooks) for at, n in layout.places]
            own[: len(layout.rows)] = np.concatenate(draws)
        return out

    def start(self, paths: Many[Path]) -> Ids:
        """x_0 (B,R,K) of the K sub-codes' paths; 0 at padding."""
        uniform = self.uniform(0, Use.START)
        out = np.zeros(uniform.shape, np.int64)
        for k, path in enumerate(paths):
            out[self.batch.real, k] = path.start(uniform[self.batch.real, k])
        return out


def alike_key(sequence: Sequence) -> tuple[Any, ...]:
    """Kinds and lengths of the segments: sequences with the same key fit into one array."""
    return tuple(
        (segment.modality, len(segment), segment.frozen, segment.continuous)
        for segment in sequence.segments
    )


def alike(sequences: Many[Sequence]) -> list[list[int]]:
    """Indices of sequences in groups of the same `alike_key`."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, sequence in enumerate(sequences):
        groups.setdefault(alike_key(sequence), []).append(index)
    return list(groups.values())


def batches(sequences: Many[Sequence], limit: int, padding: float = 0.0) -> Iterator[list[int]]:
    """Indices of sequences that one forward takes together, at most `limit`.

    Sequences of the same modalities, lengths and frozen segments always go together. Others that
    generate the same modality join them while padding is at most a share `padding` of the
    positions.
    """
    groups = alike(sequences)
    for indices in _joined(sequences, groups, padding) if padding else groups:
        yield from (indices[start : start + limit] for start in range(0, len(indices), limit))


def _joined(
    sequences: Many[Sequence], groups: list[list[int]], padding: float
) -> Iterator[list[int]]:
    """Groups of like sequences, the longest first, each joined to those before it while padding
    stays within its share."""
    order = sorted(
        groups,
        key=lambda group: (Layout.of(sequences[group[0]]).modality, -sequences[group[0]].length),
    )
    joined: list[int] = []
    for group in order:
        together = [*joined, *group]
        same = Layout.of(sequences[together[0]]).modality == Layout.of(sequences[group[0]]).modality
        room = sequences[together[0]].length * len(together)
        if joined and not (
            same and room - sum(sequences[index].length for index in together) <= padding * room
        ):
            yield joined
            together = list(group)
        joined = together
    yield joined
