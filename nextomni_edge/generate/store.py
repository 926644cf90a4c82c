"""Keys, values and hidden states kept over the steps: the token and the age of each position's."""

from __future__ import annotations

import numpy as np

from nextomni_edge.generate.batch import Batch, Mask
from nextomni_edge.generate.cache import CachePolicy, CacheView
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.rows import Float, Ids


class Store:
    """`kept` is the backbone's state of G·B sequences, those of one branch together. hidden
    (G,B,S,H) is written in place."""

    def __init__(
        self, model: EdgeModel, batch: Batch, embeddings: Float, policy: CachePolicy
    ) -> None:
        branches, requests, length, _ = embeddings.shape
        self.kept, self.hidden = model.state(branches * requests, length), np.zeros_like(embeddings)
        self.embeddings, self.batch, self.eos = embeddings, batch, model.tokenizer.special.eos
        # that a row was computed from
        self.features = np.zeros_like(embeddings[0]) if policy.needs_similarity else None
        # whose token differs from that of its keys and values
        self.outdated = np.zeros((requests, length), np.bool_)
        # tokens that changed since the whole request was computed
        self.revised = np.zeros(requests)
        self.age = np.zeros((requests, length), np.int64)
        self.prompt_age, self.response_age = (
            np.zeros(requests, np.int64),
            np.zeros(requests, np.int64),
        )
        self.response = batch.attended & ~batch.prompt
        # rows of the block at work; none before the first forward
        self.active = np.zeros_like(self.response)

    @property
    def nbytes(self) -> int:
        """Bytes of keys, values and hidden states."""
        return self.kept.nbytes + self.hidden.nbytes

    @property
    def filled(self) -> Mask:
        """Requests (B,) with any kept rows."""
        found: Mask = np.any(self.kept.filled[: len(self.batch)], axis=1)
        return found

    def plan(
        self,
        policy: CachePolicy,
        stale: Mask,
        changed: Mask,
        due: Mask,
        active: Mask,
        x_t: Ids,
        last: bool,
    ) -> Mask:
        """Rows (B,S) that the policy computes again for the `stale` requests, given the positions
        whose token changed, those that are about to be read, and those of the block at work."""
        begins = (active != self.active).any(axis=1)
        self.active = active
        self.outdated |= changed
        self.revised += changed.sum(axis=1)
        drift = self.revised / self.response.sum(axis=1)
        for age in (self.age, self.prompt_age, self.response_age):
            age[stale] += 1
        ends = np.zeros_like(changed)
        if self.batch.modality == "text":
            requests, rows = np.nonzero((x_t[..., 0] == self.eos) & self.batch.real)
            ends[requests, self.batch.rows[requests, rows]] = True
        view = CacheView(
            self.batch.attended,
            self.response,
            active,
            begins,
            self.outdated,
            due,
            ends,
            self._similarity(),
            drift,
            self.age,
            self.prompt_age,
            self.response_age,
            last,
        )
        return policy.plan(view) & self.batch.attended & stale[:, None]

    def _similarity(self) -> Float:
        """Cosine of each row's embedding to the one that its keys and values were computed from."""
        if self.features is None:
            return np.ones(self.age.shape)
        now = self.embeddings[0]
        products = np.einsum("bsh,bsh->bs", now, self.features)
        norms = np.linalg.norm(now, axis=2) * np.linalg.norm(self.features, axis=2)
        cosines: Float = np.divide(products, norms, out=np.ones_like(products), where=norms > 0)
        return cosines

    def sequences(self, branches: slice, chosen: Ids) -> Ids:
        """Indices into the kept state of these branches and requests (g·b)."""
        found: Ids = (
            np.arange(self.hidden.shape[0] * len(self.batch))
            .reshape(-1, len(self.batch))[branches, chosen]
            .ravel()
        )
        return found

    def put(self, branches: slice, chosen: Ids, order: Ids, real: Mask, hidden: Float) -> None:
        """Write hidden states (g·b,n,H) of the rows at positions `order` (b,n) where `real`."""
        place, row = np.nonzero(real)
        requests, positions = chosen[place], order[place, row]
        split = hidden.reshape(-1, len(chosen), *hidden.shape[1:])
        self.hidden[branches, requests, positions] = split[:, place, row]
        self._stamp(requests, positions)

    def _stamp(self, requests: Ids, positions: Ids) -> None:
        """Mark these rows as computed from the present tokens."""
        self.outdated[requests, positions] = False
        self.age[requests, positions] = 0
        if self.features is not None:
            self.features[requests, positions] = self.embeddings[0, requests, positions]
        fresh = (self.age == 0) | ~self.batch.attended
        self.prompt_age[(fresh | self.response).all(axis=1)] = 0
        self.response_age[(fresh | ~self.response).all(axis=1)] = 0
        self.revised[fresh.all(axis=1)] = 0.0
