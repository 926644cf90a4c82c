"""A third path: symbols on a line, along which x_t walks to x_1 (nextomni_edge/flow/ordinal.py in
the tests' copy)."""

from __future__ import annotations

from typing import ClassVar

from array_api_compat import array_namespace

from nextomni_edge.config import PathConfig
from nextomni_edge.flow.arrays import Array, check_ids, check_shapes, uniform_ids


class OrdinalPath:
    """x_t = x_0 + t·(x_1 − x_0), rounded at random: E[x_{t+h}] = x_t + (x_1 − x_t)·h/(1 − t)."""

    rules: ClassVar[tuple[str, ...]] = ("walk",)
    reads_table: ClassVar[bool] = False

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    @classmethod
    def of(
        cls, settings: PathConfig, vocabulary: int, table: Array, kept_bytes: int = 0
    ) -> OrdinalPath:
        return cls(vocabulary)

    def ruled(self, rule: str, keep_rows: bool = True) -> OrdinalPath:
        return self

    def start(self, uniform: Array) -> Array:
        return uniform_ids(uniform, self.vocabulary)

    def corrupt(self, x_1: Array, t: float | Array, uniform: Array) -> Array:
        x_0 = self.start(uniform)
        xp = array_namespace(x_1)
        return x_0 + xp.astype(xp.round((x_1 - x_0) * t), xp.int64)

    def idle(self, t: float, h: float) -> bool:
        return False

    def settled(self, x_t: Array, x_1: Array, greedy: bool) -> Array:
        return (x_t == x_1) & greedy

    def jump_probability(self, x_t: Array, x_1: Array, t: float, h: float) -> Array:
        way = abs(x_1 - x_t) * min(1.0, h / (1.0 - t))
        return array_namespace(x_t).minimum(way, 1.0 + 0.0 * way)

    def may_jump(self, x_t: Array, x_1: Array, t: float, h: float, uniform_jump: Array) -> Array:
        return uniform_jump < self.jump_probability(x_t, x_1, t, h)

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
        check_shapes(x_t, x_1=x_1, uniform_jump=uniform_jump)
        check_ids(x_1, self.vocabulary, "x_1")
        xp = array_namespace(x_t)
        way = (x_1 - x_t) * min(1.0, h / (1.0 - t))
        whole = xp.floor(way)
        moved = x_t + xp.astype(whole + (uniform_jump < way - whole), xp.int64)
        return xp.asarray(x_1, copy=True) if last else moved
