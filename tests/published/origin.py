"""Dream's `origin` runs as requests to a model of ours, with the recorded uniforms."""

from __future__ import annotations

import numpy as np
import pytest

from nextomni_edge.flow.commit import truncated
from nextomni_edge.flow.noise import Use
from nextomni_edge.flow.sampling import sample_x_1
from nextomni_edge.generate import draw
from nextomni_edge.generate.batch import Batch, BatchNoise
from nextomni_edge.generate.blocks import BlockPolicy
from nextomni_edge.generate.loop import Run
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tokens.sequence import Segment, Sequence
from tests.published.goldens import Array, read
from tests.published.runs import of_run

TRAJECTORIES = read("dream", "traj.json")["trajectories"]
ORIGIN = [name for name, run in TRAJECTORIES.items() if run["alg"] == "origin"]


class RecordedUniforms(BatchNoise):
    """The recorded uniforms decide which rows jump; rows out of the mask have none."""

    def __init__(self, batch: Batch, uniforms: Array) -> None:
        super().__init__(batch, 1)
        self.uniforms = np.nan_to_num(uniforms, nan=1.0).astype(np.float64)

    def uniform(self, step: int, use: Use) -> Array:
        if use is Use.JUMP:
            return self.uniforms[step][None, :, None]
        return super().uniform(step, use)


def times(steps: int) -> tuple[float, ...]:
    """Dream counts from 1 down to 0.001, and its last step writes every row: ours rise to 1."""
    theirs = np.linspace(1.0, 1e-3, steps + 1)
    return (*(1.0 - theirs[:-1]).tolist(), 1.0)


def check_origin(model: EdgeModel, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state as recorded, from the networks of a model."""
    settings, golden = TRAJECTORIES[name], of_run("dream", f"traj.{name}")
    steps, temperature = settings["steps"], settings["temperature"]
    states = golden["states"].astype(np.int64)
    greedy = temperature == 0.0
    options = GenerationOptions.of(
        steps=steps, stepper="jump", grid=times(steps), temperature=temperature
    )
    prompt = Segment("text", golden["prompt_ids"].astype(np.int64))
    batch = Batch([Sequence((prompt, Segment("text", states[0], frozen=False)))], [0])
    meter = Meter()
    run = Run(model, batch, options, BlockPolicy(model, options, 1, meter), meter)
    run.noise = RecordedUniforms(batch, golden["uniform"])
    step = 0

    def drawn(logits: Array, uniform: Array, *given: float) -> Array:
        """The recorded symbols, where one was drawn, each inside Dream's nucleus: top-p before
        top-k, while ours is that of `transformers`, top-k before top-p."""
        if greedy:
            return np.asarray(sample_x_1(logits, uniform, *given))
        x_1 = golden["x0"][step].astype(np.int64)
        kept = truncated(logits.astype(np.float64) / temperature, 50, settings["top_p"])
        there = np.flatnonzero(x_1 >= 0)
        assert np.isfinite(kept[there, x_1[there]]).all()
        return np.maximum(x_1, 0)

    monkeypatch.setattr(draw, "sample_x_1", drawn)
    shares = [run.stepper.paths[0].probability(run.stepper.times[at], span)  # type: ignore[attr-defined]
              for at, span in enumerate(run.stepper.spans)]  # type: ignore[attr-defined]  # fmt: skip
    np.testing.assert_allclose(shares, golden["p_transfer"], rtol=1e-5)
    for record in run.steps([0], margins=False):
        np.testing.assert_array_equal(record.x_t[0].reshape(-1), states[record.step])
        step = record.step + 1
    np.testing.assert_array_equal(run.x_t[0, :, 0], states[-1])
