"""The step rule of the flow on a grid of times, applied to every sub-code of a batch."""

from __future__ import annotations

import numpy as np

from nextomni_edge.flow.path import MetricPath
from nextomni_edge.flow.step import RISES, STEP_RULES, grid, may_jump
from nextomni_edge.generate.batch import Mask
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids


class Stepper:
    """The rule and the grid that the options name; one path for each of the K sub-codes."""

    def __init__(self, options: GenerationOptions, paths: tuple[MetricPath, ...]) -> None:
        self.rule, self.rise = STEP_RULES[options.stepper], RISES[options.stepper]
        self.steps = options.steps
        self.times = options.grid or grid(options.steps)
        # an even grid's differences would be 1/n but for rounding
        self.spans = (
            np.diff(options.grid).tolist()
            if options.grid
            else [1.0 / options.steps] * options.steps
        )
        self.paths = (
            paths if options.keep_metric_rows else tuple(path.without_kept_rows() for path in paths)
        )

    def idle(self, step: int) -> bool:
        """Whether no token can change in this step, whatever x_1 is."""
        return (
            step < self.steps - 1
            and self.rise(self.paths[0].schedule, self.times[step], self.spans[step])[1] == 0.0
        )

    def due(self, x_t: Ids, x_1: Ids, step: int, jump: Float) -> Mask:
        """Rows (B,R) in which a sub-code may move in this step, should x_1 stay as it is."""
        due = np.zeros(x_t.shape[:2], np.bool_)
        for k, path in enumerate(self.paths):
            _, rise = self.rise(path.schedule, self.times[step], self.spans[step])
            now, end, u_jump = (array[..., k].ravel() for array in (x_t, x_1, jump))
            due |= may_jump(now, end, rise, path, u_jump).reshape(due.shape)
        return due

    def __call__(self, x_t: Ids, x_1: Ids, step: int, jump: Float, target: Float) -> Ids:
        """x_{t+h} of tokens (B,R,K); `jump` and `target` are uniform draws of that shape."""
        t, h, last = self.times[step], self.spans[step], step == self.steps - 1
        x_next = np.empty_like(x_t)
        for k, path in enumerate(self.paths):
            now, end, u_jump, u_target = (
                array[..., k].ravel() for array in (x_t, x_1, jump, target)
            )
            x_next[..., k] = self.rule(now, end, t, h, path, u_jump, u_target, last).reshape(
                x_t.shape[:2]
            )
        return x_next
