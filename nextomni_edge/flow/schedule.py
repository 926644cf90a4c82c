"""When a path moves: the schedule beta_t of the metric path, what one step reads of it, and the
grid of times (METHOD 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from array_api_compat import array_namespace

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.arrays import Array

GRID_ROUNDING = 1e-6  # t + h may pass 1 by the rounding of a float32 grid


@dataclass(frozen=True)
class MetricSchedule:
    """beta_t = c·(t/(1−t))^a, without unit: 0 at t = 0, infinite at t = 1. UsageError unless c and
    a are positive and finite."""

    c: float = 3.0
    a: float = 0.9

    def __post_init__(self) -> None:
        for name, value in (("c", self.c), ("a", self.a)):
            if not (0.0 < value < math.inf):
                raise UsageError(f"schedule: {name} is {value}, expected a positive finite number")

    def __call__(self, t: float) -> tuple[float, float]:
        """(beta_t, d beta_t/dt) at one time; the derivative is taken as 0 at t = 0. UsageError for
        t outside [0, 1]."""
        beta = float(self.beta(t))
        if t == 0.0:
            return beta, 0.0
        if t == 1.0:
            return beta, math.inf
        return beta, self.c * self.a * (t / (1.0 - t)) ** (self.a - 1.0) / (1.0 - t) ** 2

    def beta(self, t: float | Array) -> float | Array:
        """beta_t of a time (a float) or of an array of times (float64, the array's shape).
        UsageError outside [0, 1]."""
        if isinstance(t, (int, float)):
            check_times(0.0 <= t <= 1.0, t)
            return math.inf if t == 1.0 else self.c * (t / (1.0 - t)) ** self.a
        xp = array_namespace(t)
        times = xp.astype(t, xp.float64)
        check_times(bool(xp.all((times >= 0.0) & (times <= 1.0))), t)
        left = xp.where(times < 1.0, 1.0 - times, xp.ones_like(times))
        return xp.where(
            times < 1.0, self.c * (times / left) ** self.a, xp.full_like(times, math.inf)
        )


Rise = Callable[[MetricSchedule, float, float], tuple[float, float]]


def euler_rise(schedule: MetricSchedule, t: float, h: float) -> tuple[float, float]:
    """What the Euler step from t to t+h reads: (beta_t, h·beta'_t), the beta at which it sees p and
    by how much beta rises. UsageError for times outside [0, 1]."""
    check_step(t, h)
    beta, d_beta = schedule(t)
    return beta, h * d_beta


def corrected_rise(schedule: MetricSchedule, t: float, h: float) -> tuple[float, float]:
    """As `euler_rise`, with (beta_{t+h/2}, beta_{t+h} − beta_t): closer to p_t at equal n."""
    check_step(t, h)
    rise = schedule(min(t + h, 1.0))[0] - schedule(t)[0] if t < 1.0 else math.inf
    return schedule(min(t + h / 2, 1.0))[0], rise


RISES: Mapping[str, Rise] = MappingProxyType({"euler": euler_rise, "corrected": corrected_rise})


def grid(n: int) -> tuple[float, ...]:
    """The n+1 times t_i = i/n, from 0 to exactly 1. UsageError unless n is a positive whole
    number."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise UsageError(f"steps: {n!r}, expected a whole number of at least 1")
    return tuple(i / n for i in range(n + 1))


def check_times(inside: bool, t: float | Array) -> None:
    """UsageError that names `t` unless it is `inside` [0, 1]."""
    if not inside:
        raise UsageError(f"schedule: time {t}, expected 0 to 1")


def check_step(t: float, h: float) -> None:
    """UsageError unless a step by `h` from `t` stays in [0, 1]."""
    if not (0.0 <= t <= 1.0 and h > 0.0 and t + h <= 1.0 + GRID_ROUNDING):
        raise UsageError(f"step: from t = {t} by h = {h}, expected 0 <= t < t + h <= 1")
