"""The largest error of each of Omni-Diffusion's recorded arrays, as docs/published.md lists them:
`python -m tests.published.bounds`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np

from nextomni_edge.decoding import CommitConfig
from nextomni_edge.flow.commit import Proposal, propose
from nextomni_edge.generate.model import EdgeModel
from tests.published.goldens import Array
from tests.published.models import imported
from tests.published.omnidiffusion_runs import OmniRun, runs
from tests.published.runs import of_run


@functools.cache
def model() -> EdgeModel:
    return EdgeModel.from_checkpoint(imported("omnidiffusion"))


def omnidiffusion_rows() -> Iterator[tuple[str, float, float]]:
    """(array, largest error, allowed)."""
    for run in runs():
        allowed = 1e-3 if run.settings["cfg"] else 1e-4
        yield f"omnidiffusion traj.{run.name}.logits", logits_error(run), allowed


def logits_error(run: OmniRun) -> float:
    """Of the rows that are masked, which are all that a step reads, in the recorded steps."""
    golden = of_run("omnidiffusion", f"traj.{run.name}")
    steps = decided_by(run, model())
    worst = 0.0
    for step, expected in zip(golden["logits_steps"], golden["logits"], strict=True):
        masked = golden["x0"][step] >= 0
        worst = max(worst, float(np.abs(steps[step] - expected[masked]).max()))
    return worst


def decided_by(run: OmniRun, of: EdgeModel) -> list[Array]:
    """The guided logits (masked rows, V) of every step of a run."""
    seen: list[Array] = []

    def watched(
        logits: Array,
        rule: CommitConfig,
        temperature: float,
        noise: Callable[[slice], Array] | None,
        penalty: Callable[[slice, Array], Array] | None,
    ) -> Proposal:
        seen.append(logits.copy())
        return propose(logits, rule, temperature, noise, penalty)

    with mock.patch("nextomni_edge.generate.unmask.propose", watched):
        run.replay(of)
    return seen
