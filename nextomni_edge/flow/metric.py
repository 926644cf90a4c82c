"""The metric-induced probability path p_t(x | x_1) = softmax_x(−beta_t·d(x, x_1)) over one
vocabulary (METHOD 3)."""

from __future__ import annotations

import copy
from typing import ClassVar

from array_api_compat import array_namespace, device

from nextomni_edge.config import PathConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow import jump
from nextomni_edge.flow.arrays import (
    Array,
    check_ids,
    check_shapes,
    chunks,
    inverse_cdf,
    uniform_ids,
)
from nextomni_edge.flow.schedule import RISES, MetricSchedule
from nextomni_edge.flow.velocity import LARGEST_BETA, boltzmann, nearest_gap
from nextomni_edge.flow.wide import table_of


class MetricPath:
    """
    The path from uniform noise, whose tokens are revised until the end (`flow.path.Path`).

    `metric` holds the distances, `schedule` beta_t. `rule` is "euler", or "corrected", which
    follows the path more closely at few steps and jumps at t = 0 too.
    """

    rules: ClassVar[tuple[str, ...]] = tuple(RISES)
    reads_table: ClassVar[bool] = True

    def __init__(
        self, table: Array, schedule: MetricSchedule, kept_bytes: int = 0, rule: str = "euler"
    ) -> None:
        """`table` and `kept_bytes` as `MetricTable` takes them."""
        self.metric = table_of(table, kept_bytes)
        self.schedule, self.vocabulary, self.rule = schedule, self.metric.vocabulary, rule

    @classmethod
    def of(
        cls, settings: PathConfig, vocabulary: int, table: Array, kept_bytes: int = 0
    ) -> MetricPath:
        """The path of one vocabulary, as the model's config describes it."""
        path = cls(table, MetricSchedule(settings.c, settings.a), kept_bytes)
        if path.vocabulary != vocabulary:
            raise InputError(
                f"metric table: {path.vocabulary} rows, expected one for each of {vocabulary}"
                " symbols"
            )
        return path

    def ruled(self, rule: str, keep_rows: bool = True) -> MetricPath:
        """The same path stepped by `rule`; without `keep_rows` it keeps no distances. UsageError
        for a rule that it does not have."""
        if rule not in self.rules:
            raise UsageError(f"stepper is {rule!r}, expected one of {', '.join(self.rules)}")
        path = copy.copy(self)
        path.rule = rule
        path.metric = self.metric if keep_rows else self.metric.without_kept_rows()
        return path

    def start(self, uniform: Array) -> Array:
        """x_0, uniform over the symbols: (N,) float64 in [0, 1) → ids (N,) int64."""
        return uniform_ids(uniform, self.vocabulary)

    def corrupt(self, x_1: Array, t: float | Array, uniform: Array) -> Array:
        """x_t ~ p_t(· | x_1) by inverse CDF in order of id: x_1, `uniform` in [0, 1) (N,) → ids
        (N,) int64."""
        beta = self._beta(t, x_1.shape[0])
        x_t = array_namespace(self.metric.table).empty_like(x_1)
        for rows in chunks(x_1.shape[0], self.vocabulary):
            weight = boltzmann(self.metric.distance(x_1[rows]), beta[rows])
            x_t[rows] = inverse_cdf(weight, uniform[rows])
        return x_t

    def idle(self, t: float, h: float) -> bool:
        """Whether beta does not rise in this step, as in Euler's at t = 0 (beta'_0 := 0)."""
        return RISES[self.rule](self.schedule, t, h)[1] == 0.0

    def settled(self, x_t: Array, x_1: Array, greedy: bool) -> Array:
        """Rows (N,) bool where x_t is x_1, if that stays: a draw may move any row again."""
        xp = array_namespace(x_t)
        return x_t == x_1 if greedy else xp.zeros_like(x_t, dtype=xp.bool)

    def jump_probability(self, x_t: Array, x_1: Array, t: float, h: float) -> Array:
        """1 − exp(−h·lambda), with beta_{t+h} − beta_t for h·beta'_t under "corrected": (N,) →
        (N,) float64, O(V) a row."""
        return jump.jump_probability(x_t, x_1, *RISES[self.rule](self.schedule, t, h), self.metric)

    def may_jump(self, x_t: Array, x_1: Array, t: float, h: float, uniform_jump: Array) -> Array:
        """Rows (N,) bool that `step` may move, by a bound that costs O(D) a row."""
        _, rise = RISES[self.rule](self.schedule, t, h)
        return jump.may_jump(x_t, x_1, rise, self.metric, uniform_jump)

    def step(
        self,
        x_t: Array,
        x_1: Array,
        t: float,
        h: float,
        uniform_jump: Array,
        uniform_target: Array,
        last: bool = False,
    ) -> Array:
        """x_{t+h}: with probability 1 − exp(−h·lambda) a draw from u_t(·, x_t | x_1)/lambda, else
        x_t; in the last step x_1. "corrected" puts beta_{t+h} − beta_t in place of h·beta'_t, and
        p_{t+h/2} in place of p_t.

        x_t, x_1 ids (N,) int64; both uniforms (N,) in [0, 1). The first decides whether a row jumps
        (strictly below the probability), the second decides where to (inverse CDF in order of id).
        → (N,) int64; nothing is changed in place. InputError for ids outside the vocabulary or
        unequal shapes, UsageError for times outside [0, 1]. `arrays.CHUNK` bounds the memory,
        whatever N and V.
        """
        beta, rise = RISES[self.rule](self.schedule, t, h)
        check_shapes(x_t, x_1=x_1, uniform_jump=uniform_jump, uniform_target=uniform_target)
        check_ids(x_t, self.vocabulary, "x_t")
        check_ids(x_1, self.vocabulary, "x_1")
        if last:
            return array_namespace(x_t).asarray(x_1, copy=True)
        return jump.move(x_t, x_1, beta, rise, self.metric, uniform_jump, uniform_target)

    def log_probability(self, x_1: Array, t: float | Array) -> Array:
        """log p_t(x | x_1): ids (N,) and a time or times (N,) → (N, V) float32, finite also at t =
        1."""
        return self._rows(x_1, t, logarithm=True)

    def probability(self, x_1: Array, t: float | Array) -> Array:
        """p_t(x | x_1): ids (N,) and a time or times (N,) → (N, V) float32; symbols at distance 0
        share the mass at t = 1."""
        return self._rows(x_1, t, logarithm=False)

    def _rows(self, x_1: Array, t: float | Array, logarithm: bool) -> Array:
        table = self.metric.table
        xp = array_namespace(table)
        beta = self._beta(t, x_1.shape[0])
        out = xp.empty((x_1.shape[0], self.vocabulary), dtype=xp.float32, device=device(table))
        for rows in chunks(x_1.shape[0], self.vocabulary):
            distance = self.metric.distance(x_1[rows])
            weight = boltzmann(distance, beta[rows])
            total = xp.sum(weight, axis=1, keepdims=True)
            if logarithm:
                out[rows, :] = xp.astype(
                    -beta[rows][:, None] * nearest_gap(distance) - xp.log(total), xp.float32
                )
            else:
                out[rows, :] = xp.astype(weight / total, xp.float32)
        return out

    def _beta(self, t: float | Array, rows: int) -> Array:
        """beta_t per row, (N,) float64, finite."""
        table = self.metric.table
        xp = array_namespace(table)
        beta = self.schedule.beta(t)
        where = {"dtype": xp.float64, "device": device(table)}
        if isinstance(beta, float):
            return xp.full((rows,), min(beta, LARGEST_BETA), **where)
        if tuple(beta.shape) != (rows,):
            raise InputError(
                f"t: shape {tuple(beta.shape)}, expected a number or ({rows},), one time per row"
            )
        return xp.minimum(beta, xp.full((rows,), LARGEST_BETA, **where))
