"""The kinetic-optimal velocity of the metric path, in O(V) a row (Shaul et al., arXiv 2412.03487;
METHOD 3)."""

from __future__ import annotations

from array_api_compat import array_namespace, device

from nextomni_edge.flow.arrays import Array, check_ids, chunks
from nextomni_edge.flow.distance import MetricTable
from nextomni_edge.flow.schedule import MetricSchedule

# Stands for beta_1 = inf, whose product with d = 0 would be NaN. exp(-1e30·d) is 0 for every
# d > 1e-27.
LARGEST_BETA = 1e30


def velocity(
    x_t: Array, x_1: Array, t: float, metric: MetricTable, schedule: MetricSchedule
) -> Array:
    """
    u_t(x, x_t | x_1) = p_t(x | x_1)·beta'_t·max(0, d(x_t, x_1) − d(x, x_1)) for every x, per unit
    of time.

    x_t, x_1 ids (N,) int64 → (N, V) float32. The entry at x_t is 0; what leaves x_t is the row's
    sum (see `intensity`). A whole (N, V) table: for looking at a few rows, never for a step over a
    large vocabulary.
    """
    xp = array_namespace(metric.table)
    check_ids(x_t, metric.vocabulary, "x_t")
    beta, rate = _rates(schedule, t)
    out = xp.empty((x_t.shape[0], metric.vocabulary), dtype=xp.float32, device=device(metric.table))
    for rows in chunks(x_t.shape[0], metric.vocabulary):
        out[rows, :] = xp.astype(
            rate * jump_weight(metric.distance(x_1[rows]), x_t[rows], beta), xp.float32
        )
    return out


def intensity(
    x_t: Array, x_1: Array, t: float, metric: MetricTable, schedule: MetricSchedule
) -> Array:
    """lambda = Σ_x u_t(x, x_t | x_1), the rate at which x_t is left, per unit of time: ids (N,) →
    (N,) float64."""
    xp = array_namespace(metric.table)
    check_ids(x_t, metric.vocabulary, "x_t")
    beta, rate = _rates(schedule, t)
    out = xp.empty(x_t.shape, dtype=xp.float64, device=device(metric.table))
    for rows in chunks(x_t.shape[0], metric.vocabulary):
        out[rows] = rate * xp.sum(jump_weight(metric.distance(x_1[rows]), x_t[rows], beta), axis=1)
    return out


def jump_weight(distance: Array, x_t: Array, beta: float) -> Array:
    """
    p_t(x | x_1)·max(0, d(x_t, x_1) − d(x, x_1)), the velocity without its factor beta'_t.

    distance (N, V) float32 of x_1, x_t (N,) → (N, V) float64. The sum runs over the symbols in
    their order. Prefix sums over sorted distances, lambda = beta'·(d·P0 − P1), would cost a sort
    and cancel digits; they pay only for many x_t per x_1.
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


def boltzmann(distance: Array, beta: Array) -> Array:
    """exp(−beta·(d − min d)), unnormalised: (N, V) float32, beta (N,) → (N, V) float64, the largest
    1."""
    xp = array_namespace(distance)
    exponent = nearest_gap(distance)
    exponent *= -beta[:, None]
    return xp.exp(exponent)


def nearest_gap(distance: Array) -> Array:
    """d(x) − min d, (N, V) → float64. The largest exponent −beta·gap of a row is 0, so no row of
    exponentials vanishes."""
    xp = array_namespace(distance)
    distance = xp.astype(distance, xp.float64)
    distance -= xp.min(distance, axis=1, keepdims=True)
    return distance


def _rates(schedule: MetricSchedule, t: float) -> tuple[float, float]:
    """beta_t and beta'_t, finite also at t = 1, so that a weight of 0 stays 0 there."""
    beta, d_beta = schedule(t)
    return min(beta, LARGEST_BETA), min(d_beta, LARGEST_BETA)
