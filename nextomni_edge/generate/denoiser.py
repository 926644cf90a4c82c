"""From x_t to x_1: the trunk's hidden states, and the draw from the head's logits. It only computes
what has changed."""

from __future__ import annotations

import numpy as np

from nextomni_edge.generate.batch import Batch, Mask
from nextomni_edge.generate.draw import Draw
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids
from nextomni_edge.generate.trunk import Trunk


class Denoiser:
    """Predicts x_1 of a batch. `x_1` (B,R,K) is the last prediction, zero before the first and at
    padding."""

    def __init__(
        self, model: EdgeModel, batch: Batch, options: GenerationOptions, meter: Meter
    ) -> None:
        self.batch, self.options = batch, options
        self.trunk, self.draw = (
            Trunk(model, batch, options, meter),
            Draw(model, batch, options, meter),
        )
        self.needs_due = self.trunk.policy.needs_due
        self.undrawn = np.zeros_like(batch.real)  # rows computed since the last draw

    @property
    def x_1(self) -> Ids:
        return self.draw.x_1.reshape(*self.batch.real.shape, -1)

    def predict(
        self,
        x_t: Ids,
        uniform: Float,
        with_margins: bool = False,
        due: Mask | None = None,
        last: bool = False,
    ) -> tuple[Ids, Float | None]:
        """x_1 ~ p(· | x_t) (B,R,K), and on request the margins (B,R,K) of the draws that uniform
        (B,R,K) makes.

        `due` (B,R) and `last` are for the cache: rows that may move in this step, and whether x_1
        is the result.
        """
        fresh = self.trunk.refresh(x_t, due, last) | self.undrawn
        flat = uniform.reshape(-1, uniform.shape[2])
        self.draw(self._hidden(), np.flatnonzero(fresh), flat, with_margins)
        self.undrawn[:] = False
        margins = self.draw.margins.reshape(x_t.shape).copy() if with_margins else None
        return self.x_1.copy(), margins

    def confidence(self, x_t: Ids, symbol: int) -> Float:
        """Probability (B,R) of a symbol of text in each row of x_t (B,R,1) at temperature 1; 0 at
        padding."""
        self.undrawn |= self.trunk.refresh(x_t, None, True)
        found = np.zeros(self.batch.real.size)
        for rows, logits in self.draw.blocks(self._hidden(), np.flatnonzero(self.batch.real)):
            weights = np.exp(
                logits[:, 0].astype(np.float64) - logits[:, 0].max(axis=1, keepdims=True)
            )
            found[rows] = weights[:, symbol] / weights.sum(axis=1)
        return found.reshape(self.batch.real.shape)

    def _hidden(self) -> Float:
        """Hidden states (G,N,H) of all rows of the batch."""
        hidden = self.trunk.hidden
        rows: Float = hidden.reshape(len(hidden), -1, hidden.shape[3])
        return rows
