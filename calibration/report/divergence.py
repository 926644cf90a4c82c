"""The cost of a variant: the mean KL(parent ‖ variant) of p_{1|t}, in nats per draw, over moments
of the parent's trajectories."""

from __future__ import annotations

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


class Divergence:
    """Measures variants of one parent. Each trajectory counts the same, and each moment in it does.
    The moments are spread over t."""

    def __init__(self, parent: EdgeModel, moments: Many[Moments]) -> None:
        self._parent, self._moments = parent, moments
        self._expected: dict[int, Float32] = {}

    def of(self, variant: EdgeModel) -> float:
        """Nats per draw. NonFiniteError: a component gave NaN or infinity."""
        means = []
        for index, each in enumerate(self._moments):
            found = predictions(variant, each.trajectory, each.guidance)
            means.append(compare(self._of_parent(index), found)[0].mean())
        return float(np.mean(means))

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
