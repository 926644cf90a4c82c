"""The step rule of the flow, applied to every sub-code of a batch."""

from __future__ import annotations

import numpy as np

from nextomni_edge.flow.path import MetricPath
from nextomni_edge.flow.step import STEP_RULES, euler_step
from nextomni_edge.generate.layout import Float, Ids


class Stepper:
    """The rule that an option names, on the grid t_i = i/steps; one path for each of the K sub-codes."""

    def __init__(self, name: str, steps: int, paths: tuple[MetricPath, ...]) -> None:
        self.rule, self.steps, self.paths = STEP_RULES[name], steps, paths

    def idle(self, step: int) -> bool:
        """Whether no token can change in this step, whatever x_1 is."""
        return step == 0 and self.steps > 1 and self.rule is euler_step

    def __call__(self, x_t: Ids, x_1: Ids, step: int, jump: Float, target: Float) -> Ids:
        """x_{t+h} of tokens (B,R,K); `jump` and `target` are uniform draws of that shape."""
        t, h, last = step / self.steps, 1.0 / self.steps, step == self.steps - 1
        x_next = np.empty_like(x_t)
        for k, path in enumerate(self.paths):
            now, end, u_jump, u_target = (array[..., k].ravel() for array in (x_t, x_1, jump, target))
            x_next[..., k] = self.rule(now, end, t, h, path, u_jump, u_target, last).reshape(x_t.shape[:2])
        return x_next
