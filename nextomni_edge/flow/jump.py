"""Independent jumps of the metric path's chain, a pure function of their arguments (METHOD 3)."""

from __future__ import annotations

from array_api_compat import array_namespace

from nextomni_edge.flow.arrays import CACHED, Array, chunks, inverse_cdf
from nextomni_edge.flow.distance import MetricTable
from nextomni_edge.flow.velocity import LARGEST_BETA, jump_weight

BOUND_ROUNDING = 1e-5  # a distance may exceed what `MetricTable.between` says by this


def may_jump(
    x_t: Array, x_1: Array, rise: float, metric: MetricTable, uniform_jump: Array
) -> Array:
    """
    Rows (N,) bool that a step by `rise` may move. For all others the draw says no, whatever p is.

    lambda·h = rise·Σ p(x)·max(0, d(x_t) − d(x)) is at most rise·d(x_t, x_1), which costs O(D) a row
    in place of O(V).
    """
    xp = array_namespace(x_t)
    bound = metric.between(x_t, x_1) * (1.0 + BOUND_ROUNDING) + BOUND_ROUNDING**2
    return (x_1 != x_t) & (uniform_jump < -xp.expm1(-min(rise, LARGEST_BETA) * bound))


def jump_probability(
    x_t: Array, x_1: Array, beta: float, rise: float, metric: MetricTable
) -> Array:
    """1 − exp(−rise·Σ weight) with weight = p·max(0, d(x_t) − d), p seen at `beta`: ids (N,) →
    (N,) float64. O(V) a row."""
    xp = array_namespace(x_t)
    beta, rise = min(beta, LARGEST_BETA), min(rise, LARGEST_BETA)
    parts = [
        -xp.expm1(-rise * xp.sum(jump_weight(metric.distance(x_1[rows]), x_t[rows], beta), axis=1))
        for rows in chunks(x_t.shape[0], metric.vocabulary)
    ]
    return xp.concat(parts) if parts else xp.zeros_like(x_t, dtype=xp.float64)


def move(
    x_t: Array,
    x_1: Array,
    beta: float,
    rise: float,
    metric: MetricTable,
    uniform_jump: Array,
    uniform_target: Array,
) -> Array:
    """Jump with probability 1 − exp(−rise·Σ weight), weight = p·max(0, d(x_t) − d), to a target
    drawn from weight: ids (N,) → (N,) int64."""
    xp = array_namespace(x_t)
    x_next = xp.asarray(x_t, copy=True)
    if rise == 0.0:
        return x_next
    beta, rise = min(beta, LARGEST_BETA), min(rise, LARGEST_BETA)
    moving = xp.nonzero(may_jump(x_t, x_1, rise, metric, uniform_jump))[0]
    # equal x_1 next to each other: one distance row for all
    moving = xp.take(moving, xp.argsort(xp.take(x_1, moving), stable=True))
    ids, row_of = _distinct(xp.take(x_1, moving))
    metric.prefetch(ids)
    for part in chunks(moving.shape[0], metric.vocabulary):
        first, last_row = int(row_of[part][0]), int(row_of[part][-1])
        distance = metric.rows(ids[first : last_row + 1])
        for some in chunks(row_of[part].shape[0], metric.vocabulary, CACHED):
            rows = moving[part][some]
            weight = jump_weight(
                xp.take(distance, row_of[part][some] - first, axis=0), xp.take(x_t, rows), beta
            )
            jumps = xp.take(uniform_jump, rows) < -xp.expm1(-rise * xp.sum(weight, axis=1))
            x_next[rows[jumps]] = inverse_cdf(weight[jumps], xp.take(uniform_target, rows)[jumps])
    return x_next


def _distinct(ordered: Array) -> tuple[Array, Array]:
    """The distinct values of a sorted row (n,), and the place (n,) among them of each."""
    xp = array_namespace(ordered)
    new = xp.concat(
        [xp.ones_like(ordered[:1]), xp.astype(ordered[1:] != ordered[:-1], ordered.dtype)]
    )
    return ordered[new == 1], xp.cumulative_sum(new) - 1
