"""Embeddings and backbone over both branches of guidance: the hidden states that predictions
read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from nextomni_edge.errors import UsageError
from nextomni_edge.generate.batch import Batch, Mask, alike
from nextomni_edge.generate.cache import NoCache, cache_policy
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids
from nextomni_edge.generate.store import Store
from nextomni_edge.runtimes.base import NonFiniteError

SPARED = 0.125  # the share of a forward's rows that may be padding of a shorter branch


class Trunk:
    """hidden (G,B,R,H) of G branches: for each generated row, the state that predicts it. Prompts
    are embedded once.

    UsageError: the model's predictions are shifted by one, and the first row has no row before it;
    or the runtime does not support the cache.
    """

    def __init__(
        self, model: EdgeModel, batch: Batch, options: GenerationOptions, meter: Meter
    ) -> None:
        self.model, self.batch, self.options, self.meter = model, batch, options, meter
        self.branches = [batch, *(Batch(one, batch.seeds) for one in model.without(batch, options))]
        shift, positions = model.config.logit_shift, max(b.attended.shape[1] for b in self.branches)
        # (G,B,R): a branch without a condition may be shorter
        same = model.config.path(batch.modality).compared == "positions"
        self.sources = np.stack(
            [np.maximum((batch if same else one).rows - shift, 0) for one in self.branches]
        )
        if any((one.rows[one.real] < shift).any() for one in self.branches):
            raise UsageError(
                "the first row has none before it to be predicted from: give a prompt before the"
                " response"
            )
        with meter.part("embed"):
            # (G,B,S,H)
            self.embeddings = np.stack([self._embedded(one, positions) for one in self.branches])
        self.hidden: Float = np.zeros(
            (len(self.branches), *batch.rows.shape, self.embeddings.shape[3]), np.float32
        )
        codebooks, _ = model.symbols(batch.modality)
        self.x_t: Ids = np.full((*batch.rows.shape, codebooks), -1)  # of the last forward: none yet
        # generated rows (B,R) of the block at work; a step that has blocks says which
        self.active = batch.real
        self.prefix = model.config.backbone.attention == "prefix"
        self.policy = cache_policy(options, self.prefix)
        whole = isinstance(self.policy, NoCache) and not self.prefix
        if not whole and any((one.rows != batch.rows).any() for one in self.branches):
            raise UsageError(
                f"kv_cache {options.cache.policy!r}: the prompt that guidance compares with is"
                " shorter here, so its rows are others; take 'none', or no guidance"
            )
        if not whole and options.guidance_until < 1.0:
            raise UsageError("guidance_until is for models and caches that keep no keys and values")
        self.store = None if whole else Store(model, batch, self.embeddings, self.policy)
        if self.store and self.policy.any_rows and not self.store.kept.any_rows:
            raise UsageError(
                f"kv_cache {options.cache.policy!r} computes rows with kept ones behind them, which"
                " this backbone's runtime cannot: take 'prefix' or 'none'"
            )

    def _embedded(self, branch: Batch, positions: int) -> Float:
        """Embeddings (B,S,H), zero at padding; requests of one layout share a call."""
        width = self.model.config.backbone.hidden_size
        out = np.zeros((len(branch), positions, width), np.float32)
        for indices in alike(branch.sequences):
            rows = self.model.sequence_embeddings([branch.sequences[index] for index in indices])
            out[indices, : rows.shape[1]] = rows
        return out

    @property
    def changes_later(self) -> bool:
        """Whether predictions will change although no token does: guidance will end."""
        return len(self.branches) > 1 and self.options.guidance_until < 1.0

    def at(self, t: float) -> None:
        """The time of the coming forwards. Behind the end of guidance they have one branch, and all
        is computed again."""
        if t > self.options.guidance_until and len(self.branches) > 1:
            self.branches = self.branches[:1]
            self.sources, self.embeddings, self.hidden = (
                each[:1] for each in (self.sources, self.embeddings, self.hidden)
            )
            self.x_t = np.full_like(self.x_t, -1)

    def refresh(self, x_t: Ids, due: Mask | None, last: bool) -> Mask:
        """Bring `hidden` up to tokens (B,R,K) and say which generated rows (B,R) were computed.

        Only requests whose tokens changed since their last forward take part in another. `due`
        (B,R): rows that may move.
        """
        changed = (x_t != self.x_t).any(axis=2) & self.batch.real
        stale = changed.any(axis=1) | (not self.options.shortcuts.reuse_logits)
        chosen = np.flatnonzero(stale)
        if not len(chosen):
            return np.zeros_like(changed)
        with self.meter.part("embed"):
            again = (
                changed
                if self.options.shortcuts.keep_embeddings
                else self.batch.real & stale[:, None]
            )
            self._embed(x_t, *np.nonzero(again))
        np.copyto(self.x_t, x_t)
        self.meter.rows_of_full_forwards += int(self.batch.lengths[chosen].sum())
        if self.store is None:
            self._whole(chosen)
            whole: Mask = self.batch.real & stale[:, None]
            return whole
        return self._partial(
            self.store, stale, changed, np.zeros_like(changed) if due is None else due, last
        )

    def _embed(self, x_t: Ids, requests: Ids, rows: Ids) -> None:
        """Put the embeddings of these generated rows where the backbone reads them, in every
        branch."""
        limit, text = (
            self.model.most_rows(f"embed_{self.model.served(self.batch.modality)}"),
            self.batch.modality == "text",
        )
        for start in range(0, len(rows), limit):
            some = requests[start : start + limit], rows[start : start + limit]
            tokens = x_t[some][None]
            found = self.model.embeddings(self.batch.modality, tokens[..., 0] if text else tokens)
            for embeddings, branch in zip(self.embeddings, self.branches, strict=True):
                embeddings[some[0], branch.rows[some]] = found[0]

    def _whole(self, chosen: Ids) -> None:
        """One forward of all rows of the chosen requests, without a cache. Padding that they do not
        need is cut off; a branch that is much shorter than the others has a forward of its own."""
        lengths = [int(branch.lengths[chosen].max()) for branch in self.branches]
        self.meter.count_forwards(len(chosen), int(self.batch.lengths[chosen].sum()))
        with self.meter.part("backbone"):
            for branches in self._together(lengths):
                length, part = max(lengths[branches]), self.embeddings[branches]
                if (
                    len(chosen) < len(self.batch)
                    or length < part.shape[2]
                    or not self.options.shortcuts.reuse_buffers
                ):
                    part = part[:, chosen, :length]
                own = [branch.lengths[chosen][:, None] for branch in self.branches[branches]]
                mask = np.arange(length) < np.concatenate(own)
                with self._naming(chosen, np.tile(np.arange(length), (len(chosen), 1))):
                    states = self.model.backbone(part.reshape(-1, *part.shape[2:]), mask).reshape(
                        part.shape
                    )
                sources = self.sources[branches][:, chosen, :, None]
                self.hidden[branches, chosen] = np.take_along_axis(states, sources, axis=2)

    @contextlib.contextmanager
    def _naming(self, chosen: Ids, positions: Ids) -> Iterator[None]:
        """Name the request and the position of a NaN in row (b, n) of a forward."""
        try:
            yield
        except NonFiniteError as error:
            place = error.index[0] % len(chosen)  # the branches stand one after another
            where = f"position {positions[place, error.index[1]]} of request {chosen[place]}"
            raise NonFiniteError(f"{error}; that is {where}", error.index) from error

    def _together(self, lengths: list[int] | None = None) -> list[slice]:
        """The branches that share a forward, given how long each is."""
        most = max(lengths or [0]) * len(self.branches)
        padded = most - sum(lengths or [0]) > SPARED * most
        if self.options.shortcuts.batch_guidance and not padded:
            return [slice(None)]
        return [slice(branch, branch + 1) for branch in range(len(self.embeddings))]

    def _partial(self, store: Store, stale: Mask, changed: Mask, due: Mask, last: bool) -> Mask:
        """A forward of the rows that the policy plans, against the kept keys and values of the
        others."""
        with self.meter.part("cache"):
            outdated, read = (
                self._positions(changed, self.batch.rows),
                self._positions(due, self.sources[0]),
            )
            active = self._positions(self.active, self.batch.rows) | self._positions(
                self.active, self.sources[0]
            )
            plan = store.plan(self.policy, stale, outdated, read, active, self.x_t, last)
        whole = stale & (~store.filled | (plan | ~self.batch.attended).all(axis=1))
        store.kept.reset(store.sequences(slice(None), np.flatnonzero(whole)))
        if self.prefix:
            # but of the whole: it sees nothing of the response, so it is what it was
            plan &= ~self.batch.prompt
        for requests, rows in ((whole, self.batch.attended), (stale & ~whole, plan)):
            chosen = np.flatnonzero(requests & rows.any(axis=1))
            if len(chosen):
                self._forward(store, chosen, rows[chosen])
                plan[chosen] = rows[chosen]
        self.meter.peak_state_bytes = max(self.meter.peak_state_bytes, store.nbytes)
        computed: Mask = self.batch.real & np.take_along_axis(plan, self.sources[0], axis=1)
        rows = self.sources[0][computed]
        self.hidden[:, computed] = store.hidden[:, np.nonzero(computed)[0], rows]
        return computed

    def _positions(self, rows: Mask, places: Ids) -> Mask:
        """Generated rows (B,R) as positions (B,S)."""
        found = np.zeros_like(self.batch.attended)
        requests, at = np.nonzero(rows)
        found[requests, places[requests, at]] = True
        return found

    def _forward(self, store: Store, chosen: Ids, rows: Mask) -> None:
        """Compute rows (b,S) of the chosen requests. A prompt that sees none of the response goes
        first, in a call of its own."""
        self.meter.count_forwards(len(chosen), int(rows.sum()))
        prompt = self.batch.prompt[chosen]
        for part in (rows & prompt, rows & ~prompt) if self.prefix else (rows,):
            some = part.any(axis=1)
            if some.any():
                self._call(store, chosen[some], part[some])

    def _call(self, store: Store, chosen: Ids, rows: Mask) -> None:
        """Compute rows (b,S), padded at the end, which see themselves and the kept rows of their
        sequence."""
        counts = rows.sum(axis=1)
        # positions, those to compute in front
        order = np.argsort(~rows, axis=1, kind="stable")[:, : counts.max()]
        real = np.arange(order.shape[1]) < counts[:, None]
        for branches in self._together():
            part = self.embeddings[branches][:, chosen[:, None], order]
            sequences, copies = store.sequences(branches, chosen), (len(part), 1)
            with self.meter.part("backbone"), self._naming(chosen, order):
                hidden = self.model.attend(
                    part.reshape(-1, *part.shape[2:]),
                    np.tile(order, copies),
                    np.tile(real, copies),
                    store.kept,
                    sequences,
                )
            with self.meter.part("cache"):
                store.put(branches, chosen, order, real, hidden)
