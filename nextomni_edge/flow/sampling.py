"""From a head's logits to x_1: temperature, top-k, top-p, argmax (METHOD 3)."""

from __future__ import annotations

import math

from array_api_compat import array_namespace

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.arrays import Array, chunks, inverse_cdf


def sample_x_1(
    logits: Array, uniform: Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Array:
    """
    x_1 ~ softmax(logits / temperature), truncated: logits (N, V) float, uniform (N,) in [0, 1) →
    ids (N,) int64.

    Temperature 0 is the argmax (the lowest id wins ties; `uniform` is not read). `top_k` > 0 keeps
    exactly the k largest logits; then `top_p` < 1 keeps the shortest run of the most probable whose
    mass reaches p of what is left, at least one. Among equals the lower id is kept. The draw is an
    inverse CDF in order of id. A logit of −inf bans its symbol; InputError for a row with a NaN, a
    +inf, or nothing but bans. UsageError for options that cannot be meant.
    """
    xp = array_namespace(logits)
    check_sampling(temperature, top_k, top_p)
    if logits.ndim != 2 or 0 in logits.shape[1:]:
        raise InputError(f"logits: shape {tuple(logits.shape)}, expected (rows, vocabulary)")
    peak = xp.max(logits, axis=1)  # NaN wherever the row holds one
    if not bool(xp.all(xp.isfinite(peak))):
        row = int(xp.argmax(xp.astype(~xp.isfinite(peak), xp.int64)))
        raise InputError(
            f"logits: the largest of row {row} is {float(peak[row])}, expected a finite number"
        )
    if temperature == 0.0:
        return xp.argmax(logits, axis=1)
    if tuple(uniform.shape) != (logits.shape[0],):
        raise InputError(
            f"uniform: shape {tuple(uniform.shape)}, expected ({logits.shape[0]},), one a row"
        )
    ids = xp.empty_like(uniform, dtype=xp.int64)
    for rows in chunks(logits.shape[0], logits.shape[1]):
        ids[rows] = inverse_cdf(
            truncated_weight(logits[rows, :], temperature, top_k, top_p), uniform[rows]
        )
    return ids


def truncated_weight(logits: Array, temperature: float, top_k: int, top_p: float) -> Array:
    """
    What `sample_x_1` draws from at a temperature above 0: unnormalised probabilities, 0 where
    truncated.

    (N, V) finite or −inf → (N, V) float64, the largest of a row 1. A whole float64 table: give it
    few rows at a time.
    """
    xp = array_namespace(logits)
    peak = xp.astype(xp.max(logits, axis=1, keepdims=True), xp.float64)
    weight = xp.exp((xp.astype(logits, xp.float64) - peak) / temperature)
    vocabulary = logits.shape[1]
    count = min(top_k, vocabulary) if top_k else vocabulary
    if count == vocabulary and top_p == 1.0:
        return weight
    ordered = xp.flip(xp.sort(logits, axis=1, stable=False), axis=1)[:, :count]
    mass = xp.exp((xp.astype(ordered, xp.float64) - peak) / temperature)
    cumulative = xp.cumulative_sum(mass, axis=1)
    # the mass before a symbol falls short of p: true of the first
    short = cumulative - mass < top_p * cumulative[:, -1:]
    kept = xp.sum(xp.astype(short, xp.int64), axis=1, keepdims=True)
    threshold = xp.take_along_axis(ordered, kept - 1, axis=1)
    above, equal = logits > threshold, logits == threshold
    room = kept - xp.sum(xp.astype(above, xp.int64), axis=1, keepdims=True)
    first = equal & (xp.cumulative_sum(xp.astype(equal, xp.int64), axis=1) <= room)
    return xp.where(above | first, weight, xp.zeros_like(weight))


def check_sampling(temperature: float, top_k: int, top_p: float) -> None:
    """UsageError unless temperature ≥ 0, top_k ≥ 0 (0: off) and 0 < top_p ≤ 1 (1: off)."""
    if not (0.0 <= temperature < math.inf):
        raise UsageError(f"temperature: {temperature}, expected a finite number of at least 0")
    if top_k < 0:
        raise UsageError(f"top-k: {top_k}, expected at least 0 (0 keeps every symbol)")
    if not (0.0 < top_p <= 1.0):
        raise UsageError(
            f"top-p: {top_p}, expected more than 0 and at most 1 (1 keeps every symbol)"
        )
