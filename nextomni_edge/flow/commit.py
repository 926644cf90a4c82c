"""The commit step (METHOD 9): every masked row draws x_1 and gets a score, and the best rows are
written and stay. One kernel for all published masked models, in numpy or torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device

from nextomni_edge.decoding import CommitConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.arrays import Array, chunks

SMALLEST = 1e-20  # under which a probability or a uniform is not told from 0 in a logarithm
ENTROPY_FLOOR = 1e-10  # Dream's: sum p·ln(p + floor)
FIRST_TIME, LAST_TIME = 1.0, 1e-3  # Dream counts time down: t_0 and t_n

# Gumbel noise (n, V) of a block of rows, so that no canvas × V array is needed
SymbolNoise = Callable[[slice], Array]
# changes the logits (n, V) float64 of a block of rows, as flow/penalty.py does
Penalty = Callable[[slice, Array], Array]


@dataclass(frozen=True)
class Proposal:
    """Of each row (N,): the drawn x_1 (int64), its score before noise (float64), and how far the
    draw was from another symbol (float64, in logits)."""

    x_1: Array
    score: Array
    gap: Array


def gumbel(uniform: Array) -> Array:
    """−ln(−ln u), standard Gumbel noise from u in [0, 1): any shape → float64."""
    xp = array_namespace(uniform)
    u = xp.astype(uniform, xp.float64)
    return -xp.log(-xp.log(xp.maximum(u, xp.full_like(u, SMALLEST))))


def propose(
    logits: Array,
    rule: CommitConfig,
    temperature: float = 0.0,
    noise: SymbolNoise | None = None,
    penalty: Penalty | None = None,
) -> Proposal:
    """
    x_1 = argmax(l + T·G) of each row, and its score: logits (N, V) float → three arrays (N,).

    `noise` gives the Gumbel noise G of a slice of rows, and is read at a temperature T > 0 only; so
    x_1 ~ softmax(l / T), truncated to rule.top_p and then to rule.top_k. LLaDA's exp(l)/(−ln u)^T,
    Lumina-DiMOO's l/T + G and MMaDA's p/E (where G = −ln E) are this argmax. A logit of −inf bans
    its symbol. `penalty` comes behind the truncation. InputError: a row with a NaN, a +inf, or
    nothing but bans. Memory is bounded by `arrays.CHUNK` whatever N and V.
    """
    xp = array_namespace(logits)
    if logits.ndim != 2 or 0 in logits.shape[1:]:
        raise InputError(f"logits: shape {tuple(logits.shape)}, expected (rows, vocabulary)")
    if temperature > 0.0 and noise is None:
        raise UsageError(f"temperature {temperature} draws x_1, which needs noise")
    rows, where = logits.shape[0], device(logits)
    x_1 = xp.empty((rows,), dtype=xp.int64, device=where)
    score, gap = (xp.empty((rows,), dtype=xp.float64, device=where) for _ in range(2))
    for part in chunks(rows, logits.shape[1]):
        whole = xp.astype(logits[part, :], xp.float64)
        drawn_from = _without(whole, rule.never)
        _check_finite(drawn_from, part.start)
        plain = drawn_from
        if temperature > 0.0:
            drawn_from = drawn_from / temperature
        if rule.top_k or rule.top_p < 1.0:
            drawn_from = truncated(drawn_from, rule.top_k, rule.top_p)
        if penalty is not None:
            drawn_from = penalty(part, drawn_from)
        noised = drawn_from
        if temperature > 0.0 and noise is not None:
            noised = drawn_from + xp.astype(noise(part), xp.float64)
        x_1[part], gap[part] = _largest(noised)
        if rule.score == "peak":
            score[part] = xp.max(plain, axis=1) - _log_sum(whole)
            continue
        scored = drawn_from if rule.tempered else plain
        score[part] = confidence(_without(scored, rule.last), x_1[part], rule)
    return Proposal(x_1, score, gap * temperature if temperature > 0.0 else gap)


def confidence(logits: Array, x_1: Array, rule: CommitConfig) -> Array:
    """The score of x_1 (N,) under logits (N, V) float64, without noise: rule.score's form, (N,)
    float64; 0 for "random", which only noise decides."""
    xp = array_namespace(logits)
    if rule.score == "random":
        return xp.zeros_like(logits[:, 0])
    peak = xp.max(logits, axis=1, keepdims=True)
    weight = xp.exp(logits - xp.where(xp.isfinite(peak), peak, xp.zeros_like(peak)))
    total = xp.sum(weight, axis=1, keepdims=True)
    total = xp.where(total > 0.0, total, xp.ones_like(total))  # rule.last may leave no symbol
    if rule.score in ("probability", "log_probability"):  # of one symbol: no pass over all
        chosen = (xp.take_along_axis(weight, x_1[:, None], axis=1) / total)[:, 0]
        if rule.score == "probability":
            return chosen
        return xp.log(xp.maximum(chosen, xp.full_like(chosen, SMALLEST)))
    weight /= total
    if rule.score == "entropy":
        return xp.sum(weight * xp.log(weight + ENTROPY_FLOOR), axis=1)
    _, gap = _largest(weight)  # of "margin"
    return gap


def noised(score: Array, rule: CommitConfig, temperature: float, uniform: Array) -> Array:
    """The score that rows are ranked by: with a uniform draw (N,) for each row, as rule.score_noise
    at this step's temperature says; "random" is the draw itself."""
    xp = array_namespace(score)
    if rule.score == "random":
        return xp.astype(uniform, xp.float64)
    if rule.score_noise == "none" or temperature == 0.0:
        return score
    return score + temperature * gumbel(uniform)


def chosen(score: Array, eligible: Array, count: int, threshold: float = 0.0) -> Array:
    """
    Rows (N,) bool to write: of the eligible ones the `count` with the largest score, the earlier of
    equals; with a threshold > 0 all whose score is over it, and at least the best one.
    """
    xp = array_namespace(score)
    ranked = xp.where(eligible, score, xp.full_like(score, -math.inf))
    # eligible rows stand before others even where their score is −inf
    order = xp.argsort(-ranked, stable=True)
    order = order[xp.argsort(xp.astype(~xp.take(eligible, order), xp.int64), stable=True)]
    room = int(xp.sum(xp.astype(eligible, xp.int64)))
    if threshold > 0.0:
        count = max(1, int(xp.sum(xp.astype(eligible & (score > threshold), xp.int64))))
    found = xp.zeros_like(eligible)
    found[order[: max(0, min(count, room))]] = True
    return found


def even_counts(masked: int, steps: int) -> tuple[int, ...]:
    """How many of a block's masked rows each of its steps writes: n div S, one more in the first
    n mod S steps. UsageError for no steps."""
    if steps < 1 or masked < 0:
        raise UsageError(f"{masked} masked rows in {steps} steps: expected at least one step")
    return tuple(masked // steps + (step < masked % steps) for step in range(steps))


def kept_masked(total: int, step: int, steps: int, count: str = "cosine") -> int:
    """
    Rows that stay masked after step `step` (from 0) of `steps`: ⌊N·masked_share(r)⌋ with
    r = (step + 1)/steps, in float32 as MMaDA and Lumina-DiMOO compute it (r = 2/3 of 16 gives 7),
    before any bound; the last step may give −1.
    """
    share = masked_share(np.float32((step + 1) / steps), count)
    return int(np.floor(np.float32(total) * share))


def masked_share(r: np.float32, count: str) -> np.float32:
    """The share of the rows that is masked at the share r of the steps, float32: cos(π/2·r); 1 − r;
    1 − r²; or MMaDA's "sigmoid", (σ(3) − σ(6r − 3)) / (σ(3) − σ(−3))."""
    one = np.float32(1)
    if count == "linear":
        return one - r
    if count == "pow2":
        return one - r * r
    if count == "sigmoid":
        high, low, now = (one / (one + np.exp(-np.float32(x))) for x in (3, -3, 6 * r - 3))
        return np.float32((high - now) / (high - low))
    return np.float32(np.cos(r * np.float32(math.pi) * np.float32(0.5), dtype=np.float32))


@dataclass(frozen=True)
class Turn:
    """One step of a block: rows [start, stop) of the R generated ones, step `step` of `steps`."""

    start: int
    stop: int
    step: int
    steps: int


def turns(rule: CommitConfig, rows: int, steps: int) -> tuple[Turn, ...]:
    """
    The steps of a run over R rows, block by block (one block where rule.block is 0).

    "even" wants whole blocks and as many steps in each; the others give a block its share
    int(len/R·S) of the steps, in float32 as Dream does. UsageError: numbers that do not divide (the
    nearest that would are named), or fewer steps than blocks.
    """
    block = rule.block or rows
    starts = range(0, rows, block)
    spans = [(start, min(start + block, rows)) for start in starts]
    if rule.count == "even":
        _check_whole(rows, block, steps, len(spans))
        shares = [steps // len(spans)] * len(spans)
    else:
        shares = [int(np.float32((stop - start) / rows) * steps) for start, stop in spans]
    if min(shares, default=1) < 1:
        raise UsageError(f"{steps} steps for {len(spans)} blocks: expected at least one step each")
    return tuple(
        Turn(start, stop, step, share)
        for (start, stop), share in zip(spans, shares, strict=True)
        for step in range(share)
    )


def _check_whole(rows: int, block: int, steps: int, blocks: int) -> None:
    if rows % block:
        near = sorted({max(1, rows // block) * block, -(-rows // block) * block})
        raise UsageError(
            f"an answer of {rows} tokens is no whole number of blocks of {block}: ask for"
            f" {' or '.join(map(str, near))} tokens, or another block"
        )
    if steps % blocks:
        near = sorted({max(1, steps // blocks) * blocks, -(-steps // blocks) * blocks})
        raise UsageError(
            f"{steps} steps are not shared evenly by {blocks} blocks: ask for"
            f" {' or '.join(map(str, near))} steps, or another block"
        )


def step_count(
    rule: CommitConfig, total: int, masked: int, step: int, steps: int, shift: float = 1.0
) -> int:
    """
    How many rows step `step` (from 0) of `steps` writes, of `masked` that are left of `total` (of
    the sequence, or of the block where rule.block is set).

    "even" shares out `total`; the others write all that is left in the last step. "cosine" and its
    like write fewer than are left before it; of one that is left none, but where rule.early is
    set. "path" reads the `shift` of the path's κ. UsageError: step outside [0, steps).
    """
    if not 0 <= step < steps:
        raise UsageError(f"step {step} of {steps}: expected 0 to {steps - 1}")
    if rule.count == "even":
        return even_counts(total, steps)[step]
    if step == steps - 1:
        return masked
    if rule.count == "path":
        share = float(_kappa(step + 1, steps, shift)) - float(_kappa(step, steps, shift))
        return min(math.ceil(total * share), masked)
    if rule.count == "time":
        now, then = (_time(at, steps) for at in (step, step + 1))
        return max(1, int(np.float32(masked) * (np.float32(1) - then / now)))
    kept = min(masked - 1, max(1, kept_masked(total, step, steps, rule.count)))
    return max(0, masked - (kept if rule.early else max(1, kept)))


def jump_share(step: int, steps: int) -> float:
    """Dream's `origin`: the probability 1 − s/t with which a masked row is written in a step; 1 in
    the last. It is the mixture path's exact jump with κ_t = t, time counted down."""
    if step == steps - 1:
        return 1.0
    return float(np.float32(1) - _time(step + 1, steps) / _time(step, steps))


def score_temperature(rule: CommitConfig, temperature: float, step: int, steps: int) -> float:
    """T_i of the score's noise. "compounding": T·Π_{j ≤ i}(1 − (j+1)/S), which MMaDA's loop makes;
    the last is 0."""
    if rule.score_noise == "none":
        return 0.0
    if rule.score_noise == "constant":
        return temperature
    for at in range(step + 1):
        temperature *= 1.0 - (at + 1) / steps
    return temperature


def truncated(logits: Array, top_k: int, top_p: float) -> Array:
    """Logits (N, V) float64 with −inf where Dream removes a symbol: behind a mass of more than
    top_p (the likeliest is kept), then under the k-th largest (its equals are kept)."""
    xp = array_namespace(logits)
    ordered = xp.flip(xp.sort(logits, axis=1, stable=False), axis=1)
    weight = xp.exp(ordered - ordered[:, :1])
    weight /= xp.sum(weight, axis=1, keepdims=True)
    before = xp.cumulative_sum(weight, axis=1) - weight
    kept = xp.sum(xp.astype(before <= top_p, xp.int64), axis=1, keepdims=True)
    if top_k:
        kept = xp.minimum(kept, xp.full_like(kept, top_k))
    least = xp.take_along_axis(ordered, xp.maximum(kept, xp.ones_like(kept)) - 1, axis=1)
    return xp.where(logits >= least, logits, xp.full_like(logits, -math.inf))


def _kappa(step: int, steps: int, shift: float) -> np.float32:
    """κ_t = τ·t / (1 + (τ − 1)·t) at step i of n even times, in float32."""
    t, one = _linspace(0.0, 1.0, step, steps), np.float32(1)
    return np.float32(np.float32(shift) * t / (one + np.float32(shift - 1.0) * t))


def _time(step: int, steps: int) -> np.float32:
    """t_i of Dream's grid, n + 1 float32 times from 1 down to 0.001."""
    return _linspace(FIRST_TIME, LAST_TIME, step, steps)


def _linspace(start: float, stop: float, step: int, steps: int) -> np.float32:
    """Number i of n + 1 even float32 numbers: to the bit torch.linspace's, which counts from the
    nearer end and rounds the spacing and the sum."""
    first, last = np.float32(start), np.float32(stop)
    spacing = float((last - first) / np.float32(steps))
    if step < (steps + 1) // 2:
        return np.float32(float(first) + step * spacing)
    return np.float32(float(last) - (steps - step) * spacing)


def _log_sum(values: Array) -> Array:
    """ln Σ exp of each row (N, V)."""
    xp = array_namespace(values)
    peak = xp.max(values, axis=1, keepdims=True)
    return peak[:, 0] + xp.log(xp.sum(xp.exp(values - peak), axis=1))


def _largest(values: Array) -> tuple[Array, Array]:
    """(argmax, largest − next) of each row (N, V); the gap is infinite where V is 1."""
    xp = array_namespace(values)
    best = xp.argmax(values, axis=1)
    top = xp.take_along_axis(values, best[:, None], axis=1)
    rest = xp.asarray(values, copy=True)
    rest[xp.arange(values.shape[0], device=device(values)), best] = -math.inf
    return best, top[:, 0] - xp.max(rest, axis=1)


def _without(logits: Array, ids: tuple[int, ...]) -> Array:
    """Logits with −inf at some ids; the array itself where there are none."""
    xp = array_namespace(logits)
    if not ids:
        return logits
    found = xp.asarray(logits, copy=True)
    for index in ids:
        found[:, index] = -math.inf
    return found


def _check_finite(logits: Array, first: int) -> None:
    xp = array_namespace(logits)
    peak = xp.max(logits, axis=1)
    if not bool(xp.all(xp.isfinite(peak))):
        row = int(xp.argmax(xp.astype(~xp.isfinite(peak), xp.int64)))
        raise InputError(
            f"logits: the largest of row {first + row} is {float(peak[row])}, expected a finite"
            " number"
        )
