"""The schedule beta_t of the metric-induced path and its derivative (METHOD 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from array_api_compat import array_namespace

from nextomni_edge.errors import UsageError

Array: TypeAlias = Any  # a numpy array or a torch tensor: the array API has no static type


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
            _check_times(0.0 <= t <= 1.0, t)
            return math.inf if t == 1.0 else self.c * (t / (1.0 - t)) ** self.a
        xp = array_namespace(t)
        times = xp.astype(t, xp.float64)
        _check_times(bool(xp.all((times >= 0.0) & (times <= 1.0))), t)
        left = xp.where(times < 1.0, 1.0 - times, xp.ones_like(times))
        return xp.where(
            times < 1.0, self.c * (times / left) ** self.a, xp.full_like(times, math.inf)
        )


def _check_times(inside: bool, t: float | Array) -> None:
    if not inside:
        raise UsageError(f"schedule: time {t}, expected 0 to 1")
