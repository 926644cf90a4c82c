"""Penalties on logits before a commit step draws and scores (Omni-Diffusion, arXiv 2603.06577): on
symbols that the answer holds already, and on rows far behind."""

from __future__ import annotations

from array_api_compat import array_namespace

from nextomni_edge.flow.arrays import Array

FREE_ROWS = 100  # masked rows from the first on that the position penalty spares


def weakened(logits: Array, divisor: float | Array) -> Array:
    """Logits divided by numbers of at least 1 that broadcast to their shape. Negative logits are
    multiplied, so that every symbol becomes less likely or stays."""
    xp = array_namespace(logits)
    return xp.where(logits < 0.0, logits * divisor, logits / divisor)


def without_repeats(logits: Array, seen: Array, penalty: float) -> Array:
    """Logits (N,V) whose columns `seen` (M,) int64, each once, are `weakened` by the penalty."""
    xp = array_namespace(logits)
    if penalty == 1.0 or not seen.shape[0]:
        return logits
    found = xp.asarray(logits, copy=True)
    found[:, seen] = weakened(logits[:, seen], penalty)
    return found


def nearer_first(logits: Array, ranks: Array, masked: int, penalty: float) -> Array:
    """Logits (N,V) of rows that are number `ranks` (N,) from 0 of `masked` masked ones, `weakened`
    by 1 + (r − 100)/(masked − 100)·(penalty − 1) from r = 100 on."""
    xp = array_namespace(logits)
    if penalty == 1.0 or masked <= FREE_ROWS:
        return logits
    behind = xp.astype(ranks - FREE_ROWS, xp.float64) / (masked - FREE_ROWS)
    divisor = 1.0 + xp.maximum(behind, xp.zeros_like(behind)) * (penalty - 1.0)
    return weakened(logits, divisor[:, None])
