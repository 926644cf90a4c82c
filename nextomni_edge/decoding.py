"""The choices of the commit step, by which published masked models are decoded (METHOD 9). A leaf
module: config/ stores them, flow/commit.py carries them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

OPTIONAL: Final = {"optional": True}  # JSON leaves the key out where it is the default

Count = Literal["even", "cosine", "linear", "pow2", "sigmoid", "time", "path"]
Score = Literal["probability", "log_probability", "peak", "margin", "entropy", "random"]
LOGARITHMIC: Final = ("entropy", "log_probability", "peak")  # scores that are no probabilities
ScoreNoise = Literal["none", "constant", "compounding"]


@dataclass(frozen=True)
class CommitConfig:
    """
    In each step every masked row draws x_1 and gets a score; the best rows are written and stay.

    count: how many rows stay masked. "even": the masks of a block are shared out evenly over its
    steps (LLaDA). "cosine", "linear", "pow2", "sigmoid": ⌊N·share⌋ of N rows are masked after the
    share r of the steps, see commit.masked_share (MaskGIT, MMaDA). "time": int(masked·(1 − s/t))
    are written, at least one (Dream). "path": ⌈N·(κ_{t+h} − κ_t)⌉ are written, with the path's own
    shifted κ_t (OmniVoice).

    score: of a drawn x_1, its probability p, ln p, p_1 − p_2, −entropy, or a uniform draw. "peak":
    ln p of the likeliest symbol, whichever is drawn; p is normalised over all symbols, also those
    that are never drawn.
    tempered: whether the score sees the temperature and the truncation that x_1 was drawn with.
    score_noise: Gumbel noise on the score, at the temperature, or at one that shrinks by 1 − r each
    step. block: rows of a block that is finished before the next begins; 0: one block. threshold:
    write every row whose score is over it, at least the best one, in place of a count; 0: off.
    never: ids that are not drawn. last: ids whose score is that of probability 0. total: what
    N counts, the rows that were masked at the start, or all of them. early: whether the last masked
    row may be written before the last step. draw_temperature: of x_1, in place of the run's own,
    which then is the score's: 0 with score_noise "constant" is Dream's alg_temp. ends: ids that end
    the answer where one is the last of a finished block; what stands behind stays masked.

    repeat_penalty: from the second step on, the logit of every symbol that the answer holds already
    is divided by it, or multiplied where it is negative; `repeat_free` ids never are.
    position_penalty: the same for all logits of the rows behind the first 100 masked ones: the
    divisor grows from 1 to it at the last row (Omni-Diffusion).

    A token of several sub-codes is written one sub-code at a time. codebook_penalty: what the score
    of sub-code k loses, times k, so that the first codebooks come first (OmniVoice).
    """

    count: Count = "even"
    score: Score = "probability"
    tempered: bool = field(default=False, metadata=OPTIONAL)
    score_noise: ScoreNoise = field(default="none", metadata=OPTIONAL)
    block: int = field(default=0, metadata=OPTIONAL)
    threshold: float = field(default=0.0, metadata=OPTIONAL)
    top_k: int = field(default=0, metadata=OPTIONAL)
    top_p: float = field(default=1.0, metadata=OPTIONAL)
    never: tuple[int, ...] = field(default=(), metadata=OPTIONAL)
    last: tuple[int, ...] = field(default=(), metadata=OPTIONAL)
    total: Literal["masked", "all"] = field(default="masked", metadata=OPTIONAL)
    early: bool = field(default=False, metadata=OPTIONAL)
    draw_temperature: float | None = field(default=None, metadata=OPTIONAL)
    ends: tuple[int, ...] = field(default=(), metadata=OPTIONAL)
    repeat_penalty: float = field(default=1.0, metadata=OPTIONAL)
    repeat_free: tuple[int, ...] = field(default=(), metadata=OPTIONAL)
    position_penalty: float = field(default=1.0, metadata=OPTIONAL)
    codebook_penalty: float = field(default=0.0, metadata=OPTIONAL)
