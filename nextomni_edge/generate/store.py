"""Keys, values and hidden states kept over the steps, by position; what is kept of which token, and how old it is."""

from __future__ import annotations

import numpy as np

from nextomni_edge.generate.batch import Batch, Mask
from nextomni_edge.generate.cache import CachePolicy, CacheView
from nextomni_edge.generate.layout import Float, Ids
from nextomni_edge.generate.model import EdgeModel


class Store:
    """keys, values (layers,G,B,kv_heads,S,head_dim) and states (G,B,S,H), written in place: nothing is allocated in a step.

    A forward gets all S columns as its past, whatever it computes, and a mask without those that it computes anew.
    """

    def __init__(self, model: EdgeModel, batch: Batch, embeddings: Float, policy: CachePolicy) -> None:
        shape, (branches, requests, length, hidden) = model.config.backbone, embeddings.shape
        cache = (shape.layers, branches, requests, shape.kv_heads, length, shape.head_dim)
        self.keys, self.values = np.zeros(cache, np.float32), np.zeros(cache, np.float32)
        self.states = np.zeros((branches, requests, length, hidden), np.float32)
        self.embeddings, self.batch, self.eos = embeddings, batch, model.tokenizer.special.eos
        self.features = np.zeros_like(embeddings[0]) if policy.needs_similarity else None  # that a row was computed from
        self.outdated = np.zeros((requests, length), np.bool_)  # of another token than its keys and values
        self.revised = np.zeros(requests)  # tokens that changed since the whole request was computed
        self.age = np.zeros((requests, length), np.int64)
        self.prompt_age, self.response_age = np.zeros(requests, np.int64), np.zeros(requests, np.int64)
        self.filled = np.zeros(requests, np.bool_)
        self.response = batch.attended & ~batch.prompt
        if shape.attention != "prefix":  # markers behind or between what is generated are then kept with the prompt
            self.response = np.zeros((requests, length), np.bool_)
            self.response[np.nonzero(batch.real)[0], batch.rows[batch.real]] = True

    @property
    def nbytes(self) -> int:
        """Of keys, values and states."""
        return self.keys.nbytes + self.values.nbytes + self.states.nbytes

    def plan(self, policy: CachePolicy, stale: Mask, changed: Mask, due: Mask, x_t: Ids, last: bool) -> Mask:
        """Rows (B,S) that the policy computes anew for the `stale` requests, given the positions whose token changed and those
        that are about to be read."""
        self.outdated |= changed
        self.revised += changed.sum(axis=1)
        drift = self.revised / self.response.sum(axis=1)
        for age in (self.age, self.prompt_age, self.response_age):
            age[stale] += 1
        ends = np.zeros_like(changed)
        if self.batch.modality == "text":
            requests, rows = np.nonzero((x_t[..., 0] == self.eos) & self.batch.real)
            ends[requests, self.batch.rows[requests, rows]] = True
        view = CacheView(self.batch.attended, self.response, self.outdated, due, ends, self._similarity(), drift, self.age,
                         self.prompt_age, self.response_age, last)  # fmt: skip
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

    def past(self, branches: slice, chosen: Ids) -> tuple[Float, Float]:
        """Keys and values (layers,g·b,kv_heads,S,head_dim) of these branches and requests; not a copy where all are meant."""
        whole = len(chosen) == len(self.batch)
        arrays = (array[:, branches] if whole else array[:, branches][:, :, chosen] for array in (self.keys, self.values))
        keys, values = (array.reshape(array.shape[0], -1, *array.shape[3:]) for array in arrays)
        return keys, values

    def put(self, branches: slice, chosen: Ids, order: Ids, real: Mask, hidden: Float, keys: Float, values: Float) -> None:
        """Write the rows at positions `order` (b,n) where `real`, of arrays whose batch is (g·b)."""
        place, row = np.nonzero(real)
        requests, positions = chosen[place], order[place, row]
        groups = len(self.states[branches])
        self.states[branches, requests, positions] = hidden.reshape(groups, len(chosen), *hidden.shape[1:])[:, place, row]
        for store, new in ((self.keys, keys), (self.values, values)):
            split = new.reshape(new.shape[0], groups, len(chosen), *new.shape[2:])
            store[:, branches][:, :, requests, :, positions] = split[:, :, place, :, row]
        self._stamp(requests, positions, chosen)

    def _stamp(self, requests: Ids, positions: Ids, chosen: Ids) -> None:
        """These rows are of the present tokens."""
        self.outdated[requests, positions] = False
        self.age[requests, positions] = 0
        if self.features is not None:
            self.features[requests, positions] = self.embeddings[0, requests, positions]
        self.filled[chosen] = True
        fresh = (self.age == 0) | ~self.batch.attended
        self.prompt_age[(fresh | self.response).all(axis=1)] = 0
        self.response_age[(fresh | ~self.response).all(axis=1)] = 0
        self.revised[fresh.all(axis=1)] = 0.0
