"""`--save-trace`: what the sampler did, step by step, as one safetensors file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nextomni_edge.files import atomic_write

if TYPE_CHECKING:
    from nextomni_edge.api.step import Step
    from nextomni_edge.generate.steps import StepRecord


class Trace:
    """Collects the records of steps.

    The file holds `step{i}/segment{j}/x_t` and `.../x_1` int64 (x_1 where it was predicted), and in
    its header step, t and margin of each; a margin is null where no draw was made.
    """

    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def __call__(self, step: Step) -> None:
        if step.record:
            self.records.append(step.record)

    def write(self, path: Path) -> None:
        """Write the file in one step."""
        from safetensors.numpy import save

        tensors = {}
        for record in self.records:
            for name, segments in (("x_t", record.x_t), ("x_1", record.x_1 or ())):
                for place, tokens in enumerate(segments):
                    tensors[f"step{record.step:04d}/segment{place}/{name}"] = np.ascontiguousarray(
                        tokens
                    )
        steps = [
            {
                "step": record.step,
                "t": record.t,
                "margin": record.margin if math.isfinite(record.margin) else None,
            }
            for record in self.records
        ]
        with atomic_write(path) as file:
            file.write(save(tensors, metadata={"steps": json.dumps(steps)}))
