"""One step of the continuous-time Markov chain from t to t+h, a pure function of its arguments
(METHOD 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from array_api_compat import array_namespace

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.path import CACHED, LARGEST_BETA, MetricPath, chunks, inverse_cdf
from nextomni_edge.flow.schedule import Array, MetricSchedule
from nextomni_edge.flow.velocity import jump_weight

GRID_ROUNDING = 1e-6  # by how much t + h may pass 1: a float32 grid's own rounding
BOUND_ROUNDING = 1e-5  # by how much a distance may be over what `MetricPath.between` says


class StepRule(Protocol):
    """How x_t moves toward x_1 in one step; `euler_step` states the arguments."""

    def __call__(
        self,
        x_t: Array,
        x_1: Array,
        t: float,
        h: float,
        path: MetricPath,
        uniform_jump: Array,
        uniform_target: Array,
        last: bool,
    ) -> Array: ...


def grid(n: int) -> tuple[float, ...]:
    """The n+1 times t_i = i/n, from 0 to exactly 1. UsageError unless n is a positive whole
    number."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise UsageError(f"steps: {n!r}, expected a whole number of at least 1")
    return tuple(i / n for i in range(n + 1))


def euler_rise(schedule: MetricSchedule, t: float, h: float) -> tuple[float, float]:
    """(beta at which the step sees p, by how much beta rises in it): beta_t and h·beta'_t.
    UsageError as `euler_step`."""
    _check_step(t, h)
    beta, d_beta = schedule(t)
    return beta, h * d_beta


def corrected_rise(schedule: MetricSchedule, t: float, h: float) -> tuple[float, float]:
    """As `euler_rise`: beta_{t+h/2} and beta_{t+h} − beta_t."""
    _check_step(t, h)
    rise = schedule(min(t + h, 1.0))[0] - schedule(t)[0] if t < 1.0 else math.inf
    return schedule(min(t + h / 2, 1.0))[0], rise


def euler_step(
    x_t: Array,
    x_1: Array,
    t: float,
    h: float,
    path: MetricPath,
    uniform_jump: Array,
    uniform_target: Array,
    last: bool = False,
) -> Array:
    """
    x_{t+h}: with probability 1 − exp(−h·lambda) a draw from u_t(·, x_t | x_1)/lambda, else x_t; in
    the last step x_1.

    x_t, x_1 ids (N,) int64; both uniforms (N,) in [0, 1): the first decides whether a row jumps
    (strictly below the probability), the second whereto (inverse CDF in order of id). → (N,) int64;
    nothing is changed in place. At t = 0 nothing jumps (beta'_0 := 0). InputError for ids outside
    the vocabulary or unequal shapes, UsageError for times outside [0, 1]. Memory is bounded by
    `path.CHUNK`, whatever N and V.
    """
    return _move(
        x_t, x_1, *euler_rise(path.schedule, t, h), path, uniform_jump, uniform_target, last
    )


def corrected_step(
    x_t: Array,
    x_1: Array,
    t: float,
    h: float,
    path: MetricPath,
    uniform_jump: Array,
    uniform_target: Array,
    last: bool = False,
) -> Array:
    """
    `euler_step` with beta_{t+h} − beta_t in place of h·beta'_t, and p_{t+h/2} in place of p_t:
    closer to p_t at equal n.

    Same arguments, result and errors. It jumps at t = 0 too.
    """
    return _move(
        x_t, x_1, *corrected_rise(path.schedule, t, h), path, uniform_jump, uniform_target, last
    )


STEP_RULES: Mapping[str, StepRule] = MappingProxyType(
    {"euler": euler_step, "corrected": corrected_step}
)
RISES: Mapping[str, Callable[[MetricSchedule, float, float], tuple[float, float]]] = (
    MappingProxyType({"euler": euler_rise, "corrected": corrected_rise})
)


def may_jump(x_t: Array, x_1: Array, rise: float, path: MetricPath, uniform_jump: Array) -> Array:
    """
    Rows (N,) bool that a step by `rise` may move: for all others the draw says no, whatever p is.

    lambda·h = rise·Σ p(x)·max(0, d(x_t) − d(x)) is at most rise·d(x_t, x_1), which costs O(D) a row
    in place of O(V).
    """
    xp = array_namespace(x_t)
    bound = path.between(x_t, x_1) * (1.0 + BOUND_ROUNDING) + BOUND_ROUNDING**2
    return (x_1 != x_t) & (uniform_jump < -xp.expm1(-min(rise, LARGEST_BETA) * bound))


def _move(
    x_t: Array,
    x_1: Array,
    beta: float,
    rise: float,
    path: MetricPath,
    uniform_jump: Array,
    uniform_target: Array,
    last: bool,
) -> Array:
    """Jump with probability 1 − exp(−rise·Σ weight), weight = p·max(0, d(x_t) − d), to a target
    drawn from weight."""
    xp = array_namespace(x_t)
    for name, array in (
        ("x_1", x_1),
        ("uniform_jump", uniform_jump),
        ("uniform_target", uniform_target),
    ):
        if tuple(array.shape) != tuple(x_t.shape):
            raise InputError(
                f"{name}: shape {tuple(array.shape)}, expected x_t's {tuple(x_t.shape)}"
            )
    path.check_ids(x_t, "x_t")
    path.check_ids(x_1, "x_1")
    if last:
        return xp.asarray(x_1, copy=True)
    x_next = xp.asarray(x_t, copy=True)
    if rise == 0.0:
        return x_next
    beta, rise = min(beta, LARGEST_BETA), min(rise, LARGEST_BETA)
    moving = xp.nonzero(may_jump(x_t, x_1, rise, path, uniform_jump))[0]
    # equal x_1 side by side: one distance row for all
    moving = xp.take(moving, xp.argsort(xp.take(x_1, moving), stable=True))
    ids, row_of = _distinct(xp.take(x_1, moving))
    path.prefetch(ids)
    for part in chunks(moving.shape[0], path.vocabulary):
        first, last_row = int(row_of[part][0]), int(row_of[part][-1])
        distance = path.rows(ids[first : last_row + 1])
        for some in chunks(row_of[part].shape[0], path.vocabulary, CACHED):
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


def _check_step(t: float, h: float) -> None:
    if not (0.0 <= t <= 1.0 and h > 0.0 and t + h <= 1.0 + GRID_ROUNDING):
        raise UsageError(f"step: from t = {t} by h = {h}, expected 0 <= t < t + h <= 1")
