"""From hidden states to x_1: the head of the generated modality on the rows that need it, and the
draw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nextomni_edge.flow.arrays import chunks
from nextomni_edge.flow.guidance import guided
from nextomni_edge.flow.sampling import sample_x_1, truncated_weight
from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids
from nextomni_edge.runtimes.base import NonFiniteError

LOGITS_AT_ONCE = 1 << 24  # 64 MiB: rows of a head's output that are looked at together


class Draw:
    """Keeps x_1 (N,K) of the N = B·R rows, and their logits (N,K,C) where they can serve again.

    An autoregressive head reads the sub-codes before each. With the last draw's sub-codes as a
    guess, one call draws all K. Rows in which an earlier sub-code differs are drawn again, so k
    calls settle k sub-codes. There are never more calls than one for each sub-code, and the draws
    are the same.
    """

    def __init__(
        self, model: EdgeModel, batch: Batch, options: GenerationOptions, meter: Meter
    ) -> None:
        self.model, self.batch, self.options, self.meter = model, batch, options, meter
        self.codebooks, self.entries = model.symbols(batch.modality)
        self.autoregressive = model.autoregressive(batch.modality)
        self.x_1: Ids = np.zeros((batch.real.size, self.codebooks), np.int64)
        self.margins: Float = np.full(self.x_1.shape, np.inf)
        streams = batch.modality == "text" and options.shortcuts.stream_logits
        self.logits = None if streams else np.zeros((*self.x_1.shape, self.entries), np.float32)

    def __call__(
        self, hidden: Float, fresh: Ids, uniform: Float, with_margins: bool = False
    ) -> None:
        """Draw from hidden (G,N,H) with uniform (N,K). The rows `fresh` are new since the last
        call.

        NonFiniteError: guidance made a logit infinite.
        """
        everywhere = np.flatnonzero(self.batch.real)
        # a greedy draw reads no noise
        redrawn = fresh if self.options.temperature == 0 else everywhere
        pending = redrawn if self.logits is None else fresh
        for _ in range(self.codebooks if self.autoregressive else 1):
            before = self.x_1[redrawn, :-1].copy()
            for rows, logits in self._logits(hidden, pending, redrawn):
                with self.meter.part("draw"):
                    self._draw(rows, logits, uniform[rows], with_margins)
            if self.options.shortcuts.draw_together:
                redrawn = redrawn[(before != self.x_1[redrawn, :-1]).any(axis=1)]
            pending = redrawn
            if not len(redrawn):
                break

    def _draw(self, rows: Ids, logits: Float, uniform: Float, with_margins: bool) -> None:
        options, flat = self.options, logits.reshape(-1, self.entries)
        x_1 = sample_x_1(flat, uniform.ravel(), options.temperature, options.top_k, options.top_p)
        self.x_1[rows] = x_1.reshape(len(rows), -1)
        if with_margins:
            self.margins[rows] = decision_margin(flat, uniform.ravel(), options).reshape(
                len(rows), -1
            )

    def _logits(self, hidden: Float, pending: Ids, wanted: Ids) -> Iterator[tuple[Ids, Float]]:
        """All `wanted` rows, in blocks, with their logits. Those in `pending` are computed now."""
        if self.logits is None:
            yield from self.blocks(hidden, pending)
            return
        for rows, logits in self.blocks(hidden, pending):
            self.logits[rows] = logits
        yield from (
            (rows, self.logits[rows] if len(rows) < len(self.logits) else self.logits)
            for rows in self._blocks(wanted)
        )

    def blocks(self, hidden: Float, rows: Ids) -> Iterator[tuple[Ids, Float]]:
        """Guided logits (n,K,C) of some rows of hidden (G,N,H), a block at a time."""
        for block in self._blocks(rows):
            with self.meter.part("head"):
                branches = hidden[:, block]
                codes = np.broadcast_to(self.x_1[block], (len(branches), *self.x_1[block].shape))
                try:
                    logits = self.model.head(
                        self.batch.modality, branches, np.ascontiguousarray(codes)
                    )
                except NonFiniteError as error:
                    raise NonFiniteError(
                        f"{error}; that is {self._place(block[error.index[1]])}", error.index
                    ) from error
                self.meter.head_rows += len(block)
                yield block, self._guided(block, logits) if len(branches) > 1 else logits[0]

    def _blocks(self, rows: Ids) -> Iterator[Ids]:
        size = max(
            1,
            min(
                LOGITS_AT_ONCE // (self.codebooks * self.entries),
                self.model.most_rows(f"{self.model.served(self.batch.modality)}_head"),
            ),
        )
        return (rows[start : start + size] for start in range(0, len(rows), size))

    def _guided(self, rows: Ids, logits: Float) -> Float:
        with np.errstate(over="ignore", invalid="ignore"):
            more = zip(logits[2:], [self.options.guidance_image], strict=False)
            found: Float = guided(logits[0], logits[1], self.options.guidance, *more)
        if not np.isfinite(found).all():
            row, code, symbol = np.argwhere(~np.isfinite(found))[0]
            where = f"sub-code {code}, symbol {symbol} of {self._place(rows[row])}"
            raise NonFiniteError(
                f"{self.batch.modality}_head: a logit under guidance is {found[row, code, symbol]}"
                f" at {where}"
            )
        return found

    def _place(self, row: int) -> str:
        request, own = np.unravel_index(row, self.batch.real.shape)
        return f"row {own} of what request {request} generates"


def decision_margin(logits: Float, uniform: Float, options: GenerationOptions) -> Float:
    """Margins (N,) of the draws that `sample_x_1` makes from logits (N,C) and uniform (N,).

    Temperature 0: the gap between the two largest logits. Otherwise, as a probability, the distance
    of the uniform to the nearer edge of its symbol in the CDF, the kept symbols being taken as they
    are; infinite where one symbol holds all.
    """
    if options.temperature == 0:
        lower, upper = np.partition(
            np.pad(logits, ((0, 0), (1, 0)), constant_values=-np.inf), -2, axis=1
        )[:, -2:].T
        gaps: Float = upper - lower
        return gaps
    return np.concatenate(
        [_edge_distance(logits[rows], uniform[rows], options) for rows in chunks(*logits.shape)]
    )


def _edge_distance(logits: Float, uniform: Float, options: GenerationOptions) -> Float:
    cumulative = np.cumsum(
        truncated_weight(logits, options.temperature, options.top_k, options.top_p), axis=1
    )
    edges = cumulative / cumulative[:, -1:]
    inside = (edges > 0.0) & (edges < 1.0)
    margins: Float = np.where(inside, np.abs(edges - uniform[:, None]), np.inf).min(axis=1)
    return margins
