"""The cost of a variant over moments of the parent's trajectories: the mean KL(parent ‖ variant) of
p_{1|t}, and the share of draws whose likeliest symbol flips."""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Final

import numpy as np

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration.data.samples import (
    CalibrationSet,
    Float32,
    Trajectory,
    read_trajectory,
)
from nextomni_edge.calibration.report.agreement import compare, predictions
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.steps import NOT_DRAWN
from nextomni_edge.verify import golden

# values of the parent's logits that are kept rather than computed again for every variant
KEPT: Final = 2**26


@dataclass(frozen=True)
class Moments:
    """A trajectory's moments, and the guidance of its generation."""

    trajectory: Trajectory
    guidance: float


@dataclass(frozen=True)
class Cost:
    """KL(parent ‖ variant) in nats per draw, and the share of draws of x_1 whose argmax is another
    one: what a greedy or a commit decoder would do otherwise. And that share among what is decided
    next, NaN where nothing is."""

    kl: float
    flips: float
    flips_when_decided: float = math.nan


@dataclass(frozen=True)
class Gate:
    """The largest cost that is accepted; None is no bound."""

    max_kl: float | None = None
    max_flips: float | None = None

    def __bool__(self) -> bool:
        return self.max_kl is not None or self.max_flips is not None

    def missed(self, cost: Cost) -> list[str]:
        """A clause for each bound that is not met; NaN meets none."""
        found = []
        if self.max_kl is not None and not cost.kl <= self.max_kl:
            found.append(
                f"the divergence from the parent is {cost.kl:.3g} nats per draw, at most"
                f" {self.max_kl:.3g} is allowed"
            )
        if self.max_flips is not None and not cost.flips <= self.max_flips:
            found.append(
                f"{cost.flips:.3g} of the draws have another likeliest symbol, at most"
                f" {self.max_flips:.3g} are allowed"
            )
        return found


class Divergence:
    """Measures variants of one parent. Each trajectory counts the same, and each moment in it does.
    The moments are spread over t."""

    def __init__(self, parent: EdgeModel, moments: Many[Moments]) -> None:
        self._parent, self._moments = parent, moments
        self._expected: dict[int, Float32] = {}

    def of(self, variant: EdgeModel) -> Cost:
        """NonFiniteError: a component gave NaN or infinity."""
        kl, same, decided = [], [], []
        for index, each in enumerate(self._moments):
            found = predictions(variant, each.trajectory, each.guidance)
            compared = compare(self._of_parent(index), found, each.trajectory.decided())
            kl.append(compared.kl.mean())
            same.append(compared.same_argmax.mean())
            decided += [] if math.isnan(compared.decided) else [compared.decided]
        behind = float(np.mean(decided)) if decided else math.nan
        return Cost(float(np.mean(kl)), 1.0 - float(np.mean(same)), behind)

    def _of_parent(self, index: int) -> Float32:
        if index not in self._expected:
            each = self._moments[index]
            found = predictions(self._parent, each.trajectory, each.guidance)
            if found.size + sum(kept.size for kept in self._expected.values()) > KEPT:
                return found
            self._expected[index] = found
        return self._expected[index]


def moments(
    parent: Bundle, calibration: CalibrationSet | None, count: int | None = None
) -> list[Moments]:
    """The moments of a calibration set, or of `count` of its trajectories. Without a set, those of
    the golden trace: whole generations of every kind that the components can do, a moment at each
    step. None where there is neither."""
    if calibration is not None:
        guidance = {
            answer: settings["guidance"]
            for answer, settings in calibration.record.generation.items()
        }
        chosen = calibration.spread(count or len(calibration))
        return [
            Moments(
                read_trajectory(calibration.file(i)),
                guidance[calibration.record.trajectories[i].answer],
            )
            for i in chosen
        ]
    return _of_golden(parent) if parent.manifest.golden is not None else []


def held_out(parent: Bundle, calibration: CalibrationSet | None) -> list[Moments]:
    """The moments of the parent's golden trace, where it has one: nothing was calibrated on
    them."""
    return moments(parent, None if parent.manifest.golden is not None else calibration)


def _of_golden(parent: Bundle) -> list[Moments]:
    found = []
    for task, run in golden.read(parent).tasks.values():
        drawn = (run.x_1[0] != NOT_DRAWN).reshape(len(run.x_1[0]), -1).all(axis=1)
        x_t, x_1 = (tuple(array[drawn] for array in arrays) for arrays in (run.x_t, run.x_1))
        t = np.flatnonzero(drawn) / task.options.steps
        found.append(
            Moments(
                Trajectory(task.sequence, t, x_t, x_1, run.tokens, (), ()),
                task.options.guidance,
            )
        )
    return found
