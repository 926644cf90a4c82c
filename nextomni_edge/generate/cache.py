"""Which rows of a forward are computed again, and which keep their keys and values (METHOD 5).
Every policy but `none` approximates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from nextomni_edge.generate.batch import Mask
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids


@dataclass(frozen=True)
class CacheView:
    """What a policy knows before a forward of B requests of S positions.

    - attended (B,S) bool: not padding. response: from the first generated row on.
    - active: the rows of the block at work, and those that they are predicted from; the response
      where the step has no blocks. begins (B,): the block was another in the forward before.
    - changed: the token differs from the one of the kept keys and values.
    - due: a row that reads its prediction in this step, if the known noise moves it. ends: <EOS>.
    - similarity (B,S): cosine of the row's input features and those of its kept keys and values.
    - drift (B,): tokens that have changed since everything was computed, per row of the response.
    - age (B,S), prompt_age and response_age (B,): forwards since a row, the whole prompt or the
      whole response was computed.
    - last: x_1 of every row is the result.
    """

    attended: Mask
    response: Mask
    active: Mask
    begins: Mask
    changed: Mask
    due: Mask
    ends: Mask
    similarity: Float
    drift: Float
    age: Ids
    prompt_age: Ids
    response_age: Ids
    last: bool


class CachePolicy(Protocol):
    """Decides; trunk.py stores.

    `needs_due`, `needs_similarity`: whether that part of the view is worth computing. `any_rows`:
    whether the policy computes rows that have kept rows after them.
    """

    needs_due: bool
    needs_similarity: bool
    any_rows: bool

    def plan(self, view: CacheView) -> Mask:
        """Rows (B,S) to compute again. The others keep their keys and values."""


class NoCache:
    """Everything, every time: exact."""

    needs_due = needs_similarity = any_rows = False

    def plan(self, view: CacheView) -> Mask:
        return view.attended


class Prefix:
    """The prompt's rows are kept, and computed again every R_p forwards. The response is always
    computed."""

    needs_due = needs_similarity = any_rows = False

    def __init__(self, options: GenerationOptions) -> None:
        self.options = options

    def plan(self, view: CacheView) -> Mask:
        return view.response | self.prompt(view)

    def prompt(self, view: CacheView) -> Mask:
        """The prompt's rows where they are due."""
        every = self.options.cache.refresh_prompt
        due = ((view.prompt_age >= every) & (every > 0)) | self.drifted(view)
        return view.attended & ~view.response & due[:, None]

    def drifted(self, view: CacheView) -> Mask:
        """Requests (B,) to compute whole, because too many tokens have changed. Unlike a number of
        forwards, this counts what makes kept keys and values wrong."""
        found: Mask = (view.drift > self.options.cache.drift) & (self.options.cache.drift > 0)
        return found

    def refreshed(self, view: CacheView, chosen: Mask) -> Mask:
        """`chosen` rows of the response, all of its rows every R_r forwards, and the prompt's rows
        where they are due."""
        every = self.options.cache.refresh
        whole = ((view.response_age >= every) & (every > 0)) | self.drifted(view)
        return (view.response & (chosen | whole[:, None])) | self.prompt(view)


class Adaptive(Prefix):
    """NExT-OMNI's and dLLM-Cache's (arXiv 2506.06295): rows whose value features moved, <EOS>
    always, all rows every R_r forwards.

    Only the value features of the first layer are known without a forward. They are a linear map of
    the row's embedding, so the embeddings are compared. A row of an unchanged token has cosine 1.
    """

    needs_similarity = any_rows = True

    def plan(self, view: CacheView) -> Mask:
        threshold, share = self.options.cache.threshold, self.options.cache.share
        moved = self._least_alike(view) if share else view.similarity < threshold
        return self.refreshed(view, moved | view.ends)

    def _least_alike(self, view: CacheView) -> Mask:
        """The share of each response's rows that is least alike. Among equals, the oldest come
        first."""
        rank = np.lexsort((-view.age, np.where(view.response, view.similarity, np.inf)), axis=1)
        count = np.ceil(self.options.cache.share * view.response.sum(axis=1))
        found = np.zeros_like(view.response)
        np.put_along_axis(found, rank, np.arange(rank.shape[1]) < count[:, None], axis=1)
        return found


class Revised(Prefix):
    """Ours, for a sampler that revises tokens: rows whose token changed, and rows whose prediction
    is about to be read.

    A prediction x_1 is only read where its row jumps, and the noise that decides this is known
    before the forward. With the x_1 read last, the jump's probability is at most 1 −
    exp(−rise·d(x_t, x_1)). So most rows cannot jump, whatever p is. They keep their keys, values
    and prediction. The last step reads every prediction, so it computes the whole response.
    """

    needs_due = any_rows = True

    def plan(self, view: CacheView) -> Mask:
        return self.refreshed(view, view.changed | view.due | view.last)


class Blocks(Prefix):
    """Fast-dLLM's prefix cache (arXiv 2505.22618), for the commit step: when a block begins,
    everything is computed; until it ends, the block and what stands behind it.

    Finished blocks never change, so their rows only age by what is written behind them.
    """

    def plan(self, view: CacheView) -> Mask:
        # a block's first row may be predicted from the prompt's last
        computed = self.refreshed(view, self.rows(view)) | self.rows(view)
        return np.where(view.begins[:, None], view.attended, computed)

    def rows(self, view: CacheView) -> Mask:
        """Rows (B,S) of the response that a step inside a block computes."""
        return np.logical_or.accumulate(view.active, axis=1)


class Dual(Blocks):
    """Fast-dLLM's dual cache: inside a block its own rows only; the masks behind it are kept
    too."""

    any_rows = True

    def rows(self, view: CacheView) -> Mask:
        return view.active


POLICIES: Mapping[str, type[Prefix]] = MappingProxyType(
    {"prefix": Prefix, "adaptive": Adaptive, "revised": Revised, "blocks": Blocks, "dual": Dual}
)


def cache_policy(options: GenerationOptions, prefix: bool = False) -> CachePolicy:
    """The policy that an option names. Where attention is `prefix`, keeping only the prompt
    approximates nothing."""
    if options.cache.policy in POLICIES:
        return POLICIES[options.cache.policy](options)
    return Prefix(options) if prefix and options.shortcuts.keep_prompt else NoCache()
