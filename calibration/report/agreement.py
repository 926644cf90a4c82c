"""The divergence of a variant's p_{1|t} from its parent's at every time of the flow, on the
parent's own x_t (METHOD 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.calibration.data.samples import CalibrationSet, Float32, Trajectory
from nextomni_edge.flow.arrays import chunks
from nextomni_edge.flow.guidance import guided
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.rows import Layout
from nextomni_edge.spec import Modality

Float64 = NDArray[np.float64]
Progress = Callable[[int, int, str], None]

NORMAL_95: Final = 1.96


@dataclass(frozen=True)
class Mean:
    """A mean over `n` trajectories, and half of the width of its 95 % interval (normal; NaN for a
    single one)."""

    value: float
    half_width: float
    n: int

    @classmethod
    def of(cls, values: NDArray[Any]) -> Mean:
        n = len(values)
        spread = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        return cls(float(values.mean()) if n else math.nan, NORMAL_95 * spread, n)

    def to_json(self) -> dict[str, float | int | None]:
        """The number for JSON: null where it is not finite."""
        half = None if math.isnan(self.half_width) else self.half_width
        return {"mean": None if math.isnan(self.value) else self.value, "ci95": half, "n": self.n}


@dataclass(frozen=True)
class Agreement:
    """Per trajectory and bin, (n, bins) float64: the mean KL(parent ‖ variant) of a draw of x_1 in
    nats, and the share of draws with the same likeliest symbol. Per trajectory, (K,) float64: that
    share for each sub-code, over all bins. `decided` (n,): the share of flips among the sub-codes
    that are decided next (see Trajectory.decided), NaN where none is. `modalities` (n,) are the
    generated ones."""

    modalities: tuple[Modality, ...]
    kl: Float64
    same_argmax: Float64
    same_by_code: tuple[Float64, ...]
    decided: Float64

    def of(self, modality: Modality | None = None) -> Agreement:
        """The trajectories of one modality, or all."""
        kept = [index for index, each in enumerate(self.modalities) if modality in (None, each)]
        return Agreement(
            tuple(self.modalities[index] for index in kept),
            self.kl[kept],
            self.same_argmax[kept],
            tuple(self.same_by_code[index] for index in kept),
            self.decided[kept],
        )

    @property
    def divergence(self) -> Mean:
        """The mean KL over all bins."""
        return Mean.of(self.kl.mean(axis=1))

    def flips_by_code(self) -> list[Mean]:
        """The share of draws of each sub-code whose likeliest symbol changed; none where the
        trajectories have different numbers of sub-codes."""
        if len({len(same) for same in self.same_by_code}) != 1:
            return []
        return [Mean.of(1.0 - same) for same in np.stack(self.same_by_code, axis=1)]

    def flips_when_decided(self) -> Mean:
        """The share of flips at the frontier, over the trajectories that have one."""
        return Mean.of(self.decided[~np.isnan(self.decided)])

    def by_bin(self) -> list[tuple[Mean, Mean]]:
        """(KL, share of equal argmax) of each bin."""
        return [
            (Mean.of(self.kl[:, b]), Mean.of(self.same_argmax[:, b]))
            for b in range(self.kl.shape[1])
        ]


def agreements(
    parent: EdgeModel,
    variants: Many[EdgeModel],
    calibration: CalibrationSet,
    progress: Progress | None = None,
) -> list[Agreement]:
    """Each variant against the parent over a set of the parent's trajectories, one in memory at a
    time. Video counts as image.

    An autoregressive head reads the sub-codes that the parent drew. NonFiniteError: a variant gives
    NaN or infinity.
    """
    modalities: list[Modality] = []
    found: list[list[Comparison]] = [[] for _ in variants]
    for index, (record, trajectory) in enumerate(calibration.trajectories()):
        if progress:
            progress(index, len(calibration), record.task)
        guidance = calibration.record.generation[record.answer]["guidance"]
        modalities.append(Layout.of(trajectory.sequence).modality)
        expected = predictions(parent, trajectory, guidance)
        for own, variant in zip(found, variants, strict=True):
            theirs = predictions(variant, trajectory, guidance)
            own.append(compare(expected, theirs, trajectory.decided()))
    if progress:
        progress(len(calibration), len(calibration), "")
    return [
        Agreement(
            tuple(modalities),
            np.stack([each.kl for each in own]),
            np.stack([each.same_argmax for each in own]),
            tuple(each.same_by_code for each in own),
            np.array([each.decided for each in own]),
        )
        for own in found
    ]


def predictions(model: EdgeModel, trajectory: Trajectory, guidance: float) -> Float32:
    """Guided logits (bins, draws, symbols) of x_1 at every moment of a trajectory, given its x_t
    and the sub-codes drawn there."""
    layout, moments = Layout.of(trajectory.sequence), range(len(trajectory.t))
    sequences = [trajectory.at(tuple(x_t[b] for x_t in trajectory.x_t)) for b in moments]
    codes = np.stack(
        [
            np.concatenate([x_1[b] for x_1 in trajectory.x_1]).reshape(len(layout.rows), -1)
            for b in moments
        ]
    )
    branches = [sequences]
    if guidance > 0:
        branches.append([model.unconditional(sequence)[0] for sequence in sequences])
    logits = []
    for branch in branches:
        rows = Layout.of(branch[0]).rows - model.config.logit_shift
        found = model.head(layout.modality, model.hidden(branch)[:, rows], codes)
        logits.append(found.reshape(len(moments), -1, found.shape[-1]))
    return guided(logits[0], logits[1], guidance) if guidance > 0 else logits[0]


@dataclass(frozen=True)
class Comparison:
    """One trajectory: mean KL and share of equal argmax of each bin, (bins,); that share of each
    sub-code, (K,); and the share of flips at the frontier, NaN without one."""

    kl: Float64
    same_argmax: Float64
    same_by_code: Float64
    decided: float


def compare(expected: Float32, found: Float32, decided: NDArray[np.bool_]) -> Comparison:
    """Logits (bins, draws, symbols) of two models. The draws are those of every row's sub-codes,
    and `decided` (bins,R,K) are those of the frontier."""
    kl = np.zeros(len(expected))
    same = expected.argmax(axis=2) == found.argmax(axis=2)
    for b, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        for rows in chunks(*ours.shape):
            log_p, log_q = _log_softmax(ours[rows]), _log_softmax(theirs[rows])
            kl[b] += float((np.exp(log_p) * (log_p - log_q)).sum()) / len(ours)
    by_code = same.reshape(-1, decided.shape[-1]).mean(axis=0)
    frontier = same[decided.reshape(same.shape)]
    flips = 1.0 - float(frontier.mean()) if frontier.size else math.nan
    return Comparison(kl, same.mean(axis=1), by_code, flips)


def _log_softmax(logits: Float32) -> Float64:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    found: Float64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
