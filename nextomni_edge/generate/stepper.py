"""How predictions become tokens: the kinds of step, on a grid of times, for every sub-code of a
batch (METHOD 9)."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Protocol

import numpy as np

from nextomni_edge.flow.noise import Use
from nextomni_edge.flow.path import Path
from nextomni_edge.flow.schedule import grid
from nextomni_edge.generate.batch import BatchNoise, Mask
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids


class Stepper(Protocol):
    """A kind of step: from the prediction x_1 of all rows to x_{t+h}. `stepper` chooses it.

    Two kinds serve the published models. `Jump` moves every sub-code independently, at the rates of
    its path. A commit compares rows instead: every masked row draws x_1 and gets a score, the best
    are written, and the rest stay masked. So a kind sees the whole batch and draws its own uses of
    the noise. Only the kind knows when nothing moves any more.

    x_t and x_1 are (B,R,K). The step is an index into `times`, which has one more entry than there
    are steps. Each call receives the noise, since a batch may grow between two steps.
    """

    @property
    def times(self) -> Many[float]:
        """The steps' times, from 0 to 1."""
        ...

    def idle(self, step: int) -> bool:
        """Whether no token changes in this step, whatever x_1 is: then no x_1 is asked for."""
        ...

    def settled(self, x_t: Ids, x_1: Ids) -> bool:
        """Whether no later step changes a token, so that the run may end."""
        ...

    def due(self, x_t: Ids, x_1: Ids, step: int, noise: BatchNoise) -> Mask:
        """Rows (B,R) in which a sub-code may change in this step, if x_1 stays the same. A cache
        must compute these again (see cache.py)."""
        ...

    def __call__(self, x_t: Ids, x_1: Ids, step: int, noise: BatchNoise) -> Ids:
        """x_{t+h} (B,R,K); x_t is not changed in place."""
        ...


def stepper(options: GenerationOptions, paths: tuple[Path, ...]) -> Stepper:
    """The kind of step that the options name, over one path for each of the K sub-codes.

    UsageError for a name that the path does not offer. A kind that is not a rule of the path is
    chosen here.
    """
    return Jump(options, paths)


class Jump:
    """Independent jumps by the path's rule that `options.stepper` names."""

    def __init__(self, options: GenerationOptions, paths: tuple[Path, ...]) -> None:
        self.steps, self.greedy = options.steps, options.temperature == 0
        self.times: Many[float] = options.grid or grid(options.steps)
        # an even grid's differences would be 1/n but for rounding
        self.spans = (
            np.diff(options.grid).tolist()
            if options.grid
            else [1.0 / options.steps] * options.steps
        )
        self.paths = tuple(
            path.ruled(options.stepper, options.shortcuts.keep_metric_rows) for path in paths
        )

    def idle(self, step: int) -> bool:
        """Whether no token changes in this step, whatever x_1 is. The last step sets them all."""
        return step < self.steps - 1 and all(
            path.idle(self.times[step], self.spans[step]) for path in self.paths
        )

    def settled(self, x_t: Ids, x_1: Ids) -> bool:
        """Whether every path has every row settled."""
        return all(
            path.settled(x_t[..., k].ravel(), x_1[..., k].ravel(), self.greedy).all()
            for k, path in enumerate(self.paths)
        )

    def due(self, x_t: Ids, x_1: Ids, step: int, noise: BatchNoise) -> Mask:
        """Rows (B,R) in which a sub-code may move in this step, if x_1 stays the same."""
        due, jump = np.zeros(x_t.shape[:2], np.bool_), noise.uniform(step, Use.JUMP)
        for k, path in enumerate(self.paths):
            now, end, u_jump = _columns(k, x_t, x_1, jump)
            may = path.may_jump(now, end, self.times[step], self.spans[step], u_jump)
            due |= may.reshape(due.shape)
        return due

    def __call__(self, x_t: Ids, x_1: Ids, step: int, noise: BatchNoise) -> Ids:
        """x_{t+h} (B,R,K), each sub-code a step of its own path."""
        t, h, last = self.times[step], self.spans[step], step == self.steps - 1
        jump, target = noise.uniform(step, Use.JUMP), noise.uniform(step, Use.TARGET)
        x_next = np.empty_like(x_t)
        for k, path in enumerate(self.paths):
            now, end, u_jump, u_target = _columns(k, x_t, x_1, jump, target)
            moved = path.step(now, end, t, h, u_jump, u_target, last)
            x_next[..., k] = moved.reshape(x_t.shape[:2])
        return x_next


def _columns(k: int, *arrays: Float) -> list[Float]:
    """Sub-code k of arrays (B,R,K), each (B·R,)."""
    return [array[..., k].ravel() for array in arrays]
