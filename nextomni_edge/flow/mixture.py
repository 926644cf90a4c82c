"""The mixture path p_t(x | x_1) = (1 − κ_t)·p_0(x) + κ_t·δ_{x_1}(x) (Gat et al., arXiv 2407.15595;
METHOD 9), with the mask or a uniform draw as its source p_0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from nextomni_edge.config import PathConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.flow.arrays import Array, check_ids, check_shapes, uniform_ids

if TYPE_CHECKING:
    from typing_extensions import Self

Kappa = Literal["linear", "cosine", "shifted"]
ROUNDING = 1e-6  # by how much t + h may pass 1: a float32 grid's own rounding


@dataclass(frozen=True)
class MixtureSchedule:
    """κ_t, which rises from 0 at t = 0 to 1 at t = 1.

    "linear": κ_t = t. "cosine": κ_t = 1 − cos(π·t/2), MaskGIT's share of masks. "shifted":
    κ_t = τ·t / (1 + (τ − 1)·t), where τ = `shift`; τ < 1 commits little at first. UsageError unless
    the shift is positive and finite.
    """

    kind: Kappa = "linear"
    shift: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.shift < math.inf:
            raise UsageError(f"schedule: shift is {self.shift}, expected a positive finite number")

    def kappa(self, t: float | Array) -> float | Array:
        """κ_t of a time, or of an array of times (float64, the array's shape). UsageError outside
        [0, 1]."""
        if isinstance(t, (int, float)):
            _check_times(0.0 <= t <= 1.0, t)
            return self._of(t, math.cos(math.pi / 2 * t)) if t < 1.0 else 1.0
        xp = array_namespace(t)
        times = xp.astype(t, xp.float64)
        _check_times(bool(xp.all((times >= 0.0) & (times <= 1.0))), t)
        found = self._of(times, xp.cos(math.pi / 2 * times))
        return xp.where(times < 1.0, found, xp.ones_like(times))

    def _of(self, t: float | Array, cosine: float | Array) -> float | Array:
        if self.kind == "cosine":
            return 1.0 - cosine
        return t if self.kind == "linear" else self.shift * t / (1.0 + (self.shift - 1.0) * t)

    def slope(self, t: float) -> float:
        """κ'_t per unit of time, for training's weight κ'_t / (1 − κ_t)."""
        _check_times(0.0 <= t <= 1.0, t)
        if self.kind == "cosine":
            return math.pi / 2 * math.sin(math.pi / 2 * t)
        return 1.0 if self.kind == "linear" else self.shift / (1.0 + (self.shift - 1.0) * t) ** 2


class MixturePath:
    """
    The path of one vocabulary of V symbols from a source to x_1, as `flow.path.Path` describes.

    `mask` is the id that stands for a masked token, which may lie behind the V symbols; None makes
    p_0 uniform over them. With a mask source a token leaves the mask once and stays.
    """

    rules: ClassVar[tuple[str, ...]] = ("jump",)
    reads_table: ClassVar[bool] = False

    def __init__(self, vocabulary: int, schedule: MixtureSchedule, mask: int | None = None) -> None:
        if vocabulary < 1 or (mask is not None and mask < 0):
            raise UsageError(f"mixture path: {vocabulary} symbols and mask {mask}, expected ids")
        self.vocabulary, self.schedule, self.mask = vocabulary, schedule, mask

    @classmethod
    def of(cls, settings: PathConfig, vocabulary: int, table: Array, kept_bytes: int = 0) -> Self:
        """The path that a config describes; where it names no mask, that is one behind the
        symbols."""
        mask = vocabulary if settings.mask is None else settings.mask
        schedule = MixtureSchedule(settings.kappa, settings.shift)
        return cls(vocabulary, schedule, mask if settings.source == "mask" else None)

    def ruled(self, rule: str, keep_rows: bool = True) -> Self:
        """The path itself, whose one rule is exact. UsageError for another."""
        if rule not in self.rules:
            raise UsageError(f"stepper {rule!r}: the mixture path has {', '.join(self.rules)}")
        return self

    def start(self, uniform: Array) -> Array:
        """x_0 ~ p_0: uniform (N,) in [0, 1) → ids (N,) int64."""
        xp = array_namespace(uniform)
        if self.mask is not None:
            return xp.full_like(uniform, self.mask, dtype=xp.int64)
        # a uniform that a cast to float32 rounded up to 1
        ids = uniform_ids(uniform, self.vocabulary)
        return xp.minimum(ids, xp.full_like(ids, self.vocabulary - 1))

    def corrupt(self, x_1: Array, t: float | Array, uniform: Array) -> Array:
        """x_t ~ p_t(· | x_1): a row is x_1 where `uniform` < κ_t; elsewhere what is left of the
        draw, (u − κ_t)/(1 − κ_t), is uniform again and draws from p_0."""
        xp = array_namespace(x_1)
        check_shapes(x_1, uniform=uniform)
        u = xp.astype(uniform, xp.float64)
        kappa = self.schedule.kappa(t) + xp.zeros_like(u)
        left = xp.where(kappa < 1.0, 1.0 - kappa, xp.ones_like(u))
        source = self.start(xp.clip((u - kappa) / left, 0.0, 1.0))
        return xp.where(u < kappa, x_1, source)

    def probability(self, t: float, h: float) -> float:
        """(κ_{t+h} − κ_t) / (1 − κ_t), with which a row that has not yet reached x_1 does so in
        [t, t+h]: exact for a p_{1|t} that stays as it is. 1 once t + h is 1."""
        if not (0.0 <= t <= 1.0 and h > 0.0 and t + h <= 1.0 + ROUNDING):
            raise UsageError(f"step: from t = {t} by h = {h}, expected 0 <= t < t + h <= 1")
        now, then = (float(self.schedule.kappa(min(time, 1.0))) for time in (t, t + h))
        return 1.0 if then >= 1.0 else (then - now) / (1.0 - now)

    def idle(self, t: float, h: float) -> bool:
        """Whether κ does not rise in the step."""
        return self.probability(t, h) == 0.0

    def settled(self, x_t: Array, x_1: Array, greedy: bool) -> Array:
        """Rows (N,) bool that no later step moves: those out of the mask; with a uniform source
        those that are the argmax already, where that is what is taken."""
        xp = array_namespace(x_t)
        if self.mask is not None:
            return x_t != self.mask
        return (x_t == x_1) if greedy else xp.zeros_like(x_t, dtype=xp.bool)

    def jump_probability(self, x_t: Array, x_1: Array, t: float, h: float) -> Array:
        """`probability` where a row may still move, (N,) float64, else 0."""
        xp = array_namespace(x_t)
        return xp.astype(self._moves(x_t, x_1), xp.float64) * self.probability(t, h)

    def _moves(self, x_t: Array, x_1: Array) -> Array:
        return x_t == self.mask if self.mask is not None else x_t != x_1

    def may_jump(self, x_t: Array, x_1: Array, t: float, h: float, uniform_jump: Array) -> Array:
        """Rows (N,) bool that `step` moves."""
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
        """x_{t+h}: a row that may move becomes x_1 with `probability`, in the last step in any
        case. The target needs no draw, so `uniform_target` is not read."""
        xp = array_namespace(x_t)
        check_shapes(x_t, x_1=x_1, uniform_jump=uniform_jump)
        check_ids(x_1, self.vocabulary, "x_1")
        if last:
            return xp.where(self._moves(x_t, x_1), x_1, x_t)
        return xp.where(self.may_jump(x_t, x_1, t, h, uniform_jump), x_1, x_t)


def _check_times(inside: bool, t: float | Array) -> None:
    if not inside:
        raise UsageError(f"schedule: time {t}, expected 0 to 1")
