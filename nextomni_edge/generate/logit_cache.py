"""Lumina-DiMOO's cache (arXiv 2510.06308): keys, values and logits of every position are kept, and
the positions whose largest logit is low are computed again. It approximates."""

from __future__ import annotations

import numpy as np

from nextomni_edge.errors import UsageError
from nextomni_edge.generate.batch import Batch, Mask
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids
from nextomni_edge.generate.trunk import Trunk


class LogitTrunk(Trunk):
    """
    A trunk that computes everything in the first steps and in every `refresh`-th one after them. In
    the others it computes, of each sequence and branch, the `cache_share` of the positions whose
    largest logit over the generated vocabulary was lowest; text counts too. Their rows see the keys
    and values that are kept of all others, also of positions whose token has changed.

    computed (G,B,S) bool: what the last step computed. states (G,B,S,H): hidden states of all
    positions; a head reads rows one by one, so kept states are kept logits.
    """

    def __init__(
        self, model: EdgeModel, batch: Batch, options: GenerationOptions, meter: Meter
    ) -> None:
        super().__init__(model, batch, options, meter)
        if self.prefix or model.config.logit_shift:
            raise UsageError("kv_cache 'logits' is for models that see all rows, unshifted")
        branches, requests, length, _ = self.embeddings.shape
        self.kept = model.state(branches * requests, length)
        if not self.kept.any_rows:
            raise UsageError(
                "kv_cache 'logits' computes rows with kept ones behind them, which this backbone's"
                " runtime cannot: take 'none'"
            )
        self.states = np.zeros_like(self.embeddings)
        self.largest = np.full(self.embeddings.shape[:3], -np.inf)
        self.computed: Mask = np.zeros(self.largest.shape, np.bool_)
        self.meter.peak_state_bytes = max(self.meter.peak_state_bytes, self.kept.nbytes)
        self.warm, self.step = int(options.steps * options.cache.warmup), 0

    def refresh(self, x_t: Ids, due: Mask | None, last: bool) -> Mask:
        """As of a plain trunk; which rows a step computes, its number decides, and the logits of
        the step before."""
        changed = (x_t != self.x_t).any(axis=2) & self.batch.real
        with self.meter.part("embed"):
            self._embed(x_t, *np.nonzero(changed))
        np.copyto(self.x_t, x_t)
        every, behind = self.options.cache.refresh, self.step - self.warm
        whole = behind <= 0 or (every > 0 and behind % every == 0)
        for index, branch in enumerate(self.branches):
            self.computed[index] = self._rows(index, branch, whole)
            self._forward_branch(index, branch, whole)
            sources = self.sources[index][..., None]
            self.hidden[index] = np.take_along_axis(self.states[index], sources, axis=1)
        self.step += 1
        return self.batch.real

    def _rows(self, index: int, branch: Batch, whole: bool) -> Mask:
        """Positions (B,S) that a branch computes now."""
        real = np.arange(self.states.shape[2]) < branch.lengths[:, None]
        if whole:
            return real
        found = np.zeros_like(real)
        for request, length in enumerate(branch.lengths):
            largest = self.largest[index, request, :length]
            found[request, :length] = largest <= np.quantile(largest, self.options.cache.share)
        return found

    def _forward_branch(self, index: int, branch: Batch, whole: bool) -> None:
        """Compute the chosen rows, those of fewer padded behind, keep them, and look at their
        logits."""
        rows, requests = self.computed[index], np.arange(len(branch))
        counts = rows.sum(axis=1)
        order = np.argsort(~rows, axis=1, kind="stable")[:, : counts.max()]
        real = np.arange(order.shape[1]) < counts[:, None]
        sequences = index * len(branch) + requests
        if whole:
            self.kept.reset(sequences)
        if index == 0:  # guidance's branches are one forward
            self.meter.count_forwards(len(branch), int(counts.sum()))
            self.meter.rows_of_full_forwards += int(branch.lengths.sum())
        with self.meter.part("backbone"):
            embeddings = self.embeddings[index][requests[:, None], order]
            hidden = self.model.attend(embeddings, order, real, self.kept, sequences)
        with self.meter.part("head"):
            codes = np.zeros((*order.shape, 1), np.int64)
            peak: Float = self.model.head(self.batch.modality, hidden, codes).max(axis=(2, 3))
        place, row = np.nonzero(real)
        self.states[index, place, order[place, row]] = hidden[place, row]
        self.largest[index, place, order[place, row]] = peak[place, row]
