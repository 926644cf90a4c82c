"""What a generation leaves out or keeps: the exact shortcuts, and the caches, which approximate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nextomni_edge.decoding import OPTIONAL

CACHES: Final = ("none", "prefix", "adaptive", "revised")
# of the commit step only: Fast-dLLM's two (see cache.py), and Lumina-DiMOO's own (logit_cache.py)
LOGITS: Final = "logits"
COMMIT_CACHES: Final = ("blocks", "dual", LOGITS)
ALL_CACHES: Final = (*CACHES, *COMMIT_CACHES)
EXTEND: Final = ("first", "interleaved")


@dataclass(frozen=True)
class Shortcuts:
    """Exact shortcuts (METHOD 6): on or off, the tokens are the same."""

    skip_first_forward: bool = True
    """Nothing can jump at t = 0 with Euler, so x_1 is not asked for (METHOD 6)."""

    reuse_logits: bool = True
    """No forward while no token has changed since the last one."""

    stop_early: bool = True
    """End when x_t is the argmax everywhere and the draw takes the argmax."""

    keep_embeddings: bool = True
    """Embed only generated rows whose token changed. The prompt is embedded once in any
    case."""

    draw_together: bool = True
    """Draw all sub-codes of an autoregressive head at once, and again only where an earlier
    one differs."""

    stream_logits: bool = True
    """Read text logits in blocks of rows while they are computed, and do not keep them."""

    keep_metric_rows: bool = True
    """Keep distances to an id of x_1, within a bound."""

    reuse_buffers: bool = True
    """A forward reads the embeddings in place, without a copy."""

    keep_prompt: bool = True
    """A model whose prompt sees nothing of the response (attention 'prefix') computes its
    keys and values once."""

    batch_guidance: bool = True
    """Both branches of guidance in one forward, or one after another. `bench` says which is
    faster here."""


@dataclass(frozen=True)
class CacheOptions:
    """Which keys and values are kept over the steps (see cache.py). All but the policy 'none'
    approximates."""

    policy: str = "none"
    """Whose keys and values are kept."""

    refresh_prompt: int = 0
    """R_p: compute the prompt's keys and values again every this many forwards; 0 never."""

    refresh: int = 0
    """R_r: compute all of the response's rows again every this many forwards; 0 never."""

    threshold: float = 0.95
    """For 'adaptive': compute rows again when their features' cosine to the kept ones is lower."""

    share: float = 0.0
    """For 'adaptive', in place of the threshold: compute this share of the rows again, the least
    alike first; 0 is off. For 'logits': compute this share again, the least certain first."""

    warmup: float = field(default=0.3, metadata=OPTIONAL)
    """For 'logits': the share of the steps before anything is kept."""

    drift: float = 0.0
    """Compute prompt and response again once more tokens than this have changed, per row of the
    response; 0 never."""


# What computes less. `batch_guidance` only arranges the same work.
SHORTCUTS: Final = tuple(
    each.name for each in dataclasses.fields(Shortcuts) if each.name != "batch_guidance"
)
# A setting's name, as the command line and every record has it → where it stands in
# GenerationOptions.
NESTED: Final[Mapping[str, tuple[str, str]]] = {
    "kv_cache": ("cache", "policy"), "refresh_prompt": ("cache", "refresh_prompt"),
    "refresh": ("cache", "refresh"), "cache_threshold": ("cache", "threshold"),
    "cache_share": ("cache", "share"), "cache_warmup": ("cache", "warmup"),
    "cache_drift": ("cache", "drift"),
    **{each.name: ("shortcuts", each.name) for each in dataclasses.fields(Shortcuts)},
}  # fmt: skip
