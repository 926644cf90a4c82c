"""The kinetic-optimal velocity of the metric path, in O(V) a row (Shaul et al., arXiv 2412.03487;
METHOD 3)."""

from __future__ import annotations

from array_api_compat import array_namespace, device

from nextomni_edge.flow.path import LARGEST_BETA, MetricPath, boltzmann, chunks
from nextomni_edge.flow.schedule import Array


def velocity(x_t: Array, x_1: Array, t: float, path: MetricPath) -> Array:
    """
    u_t(x, x_t | x_1) = p_t(x | x_1)·beta'_t·max(0, d(x_t, x_1) − d(x, x_1)) for every x, per unit
    of time.

    x_t, x_1 ids (N,) int64 → (N, V) float32. The entry at x_t is 0; what leaves x_t is the row's
    sum (see `intensity`). A whole (N, V) table: for looking at a few rows, never for a step over a
    large vocabulary.
    """
    xp = array_namespace(path.table)
    path.check_ids(x_t, "x_t")
    beta, rate = _rates(path, t)
    out = xp.empty((x_t.shape[0], path.vocabulary), dtype=xp.float32, device=device(path.table))
    for rows in chunks(x_t.shape[0], path.vocabulary):
        out[rows, :] = xp.astype(
            rate * jump_weight(path.distance(x_1[rows]), x_t[rows], beta), xp.float32
        )
    return out


def intensity(x_t: Array, x_1: Array, t: float, path: MetricPath) -> Array:
    """lambda = Σ_x u_t(x, x_t | x_1), the rate at which x_t is left, per unit of time: ids (N,) →
    (N,) float64."""
    xp = array_namespace(path.table)
    path.check_ids(x_t, "x_t")
    beta, rate = _rates(path, t)
    out = xp.empty(x_t.shape, dtype=xp.float64, device=device(path.table))
    for rows in chunks(x_t.shape[0], path.vocabulary):
        out[rows] = rate * xp.sum(jump_weight(path.distance(x_1[rows]), x_t[rows], beta), axis=1)
    return out


def jump_weight(distance: Array, x_t: Array, beta: float) -> Array:
    """
    p_t(x | x_1)·max(0, d(x_t, x_1) − d(x, x_1)), the velocity without its factor beta'_t.

    distance (N, V) float32 of x_1, x_t (N,) → (N, V) float64. The sum is taken over the symbols as
    they stand: sorting them and taking lambda = beta'·(d·P0 − P1) from prefix sums costs a sort and
    cancels digits, and pays only for many x_t per x_1.
    """
    xp = array_namespace(distance)
    here = xp.take_along_axis(distance, x_t[:, None], axis=1)
    weight = boltzmann(
        distance, xp.full(x_t.shape, beta, dtype=xp.float64, device=device(distance))
    )
    weight /= xp.sum(weight, axis=1, keepdims=True)
    nearer = here > distance
    weight *= xp.astype(here, xp.float64) - distance
    return xp.where(nearer, weight, xp.zeros_like(weight))


def _rates(path: MetricPath, t: float) -> tuple[float, float]:
    """beta_t and beta'_t, finite also at t = 1, so that a weight of 0 stays 0 there."""
    beta, d_beta = path.schedule(t)
    return min(beta, LARGEST_BETA), min(d_beta, LARGEST_BETA)
