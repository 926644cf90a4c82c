"""Dream's `origin` sampler is the mixture path's exact jump on Dream's own grid of times: its
recorded runs, state for state, with the recorded uniforms."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from nextomni_edge.decoding import CommitConfig
from nextomni_edge.flow.commit import jump_share, turns
from nextomni_edge.generate.model import EdgeModel
from tests.published.goldens import arrays
from tests.published.models import imported
from tests.published.origin import ORIGIN, TRAJECTORIES, check_origin, times
from tests.published.runs import of_run


@functools.cache
def model(family: str) -> EdgeModel:
    return EdgeModel.from_checkpoint(imported(family))


@pytest.mark.parametrize("family", ["dream", "omnidiffusion"])
@pytest.mark.parametrize("name", ORIGIN)
def test_an_origin_run_repeats_state_for_state(
    name: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_origin(model(family), name, monkeypatch)


@pytest.mark.parametrize("name", ["timesteps_1", "timesteps_7", "timesteps_24", "timesteps_260"])
def test_dreams_grid_of_times(name: str) -> None:
    """To the last bit, as a count of rows is a product rounded down."""
    golden = arrays("dream")[f"smp.{name}"]
    steps = len(golden) - 1
    found = [jump_share(step, steps) for step in range(steps - 1)]
    np.testing.assert_array_equal(found, 1 - golden[1:-1] / golden[:-2])
    np.testing.assert_allclose(1.0 - np.array(times(steps)[:-1]), golden[:-1], rtol=1e-6)


@pytest.mark.parametrize("name", list(TRAJECTORIES))
def test_what_a_run_of_dream_notes_down(name: str) -> None:
    """Its plan of steps and blocks, how many rows each step writes and which symbols, and the
    answer behind a prompt of zeros."""
    golden, settings = of_run("dream", f"traj.{name}"), TRAJECTORIES[name]
    states, rows = golden["states"], settings["max_new_tokens"]
    written = states[1:] != states[:-1]
    np.testing.assert_array_equal(written.sum(axis=1), golden["n_transfer"])
    np.testing.assert_array_equal(states[1:][written], golden["x0"][written])
    prompt = np.zeros_like(golden["prompt_ids"])
    np.testing.assert_array_equal(golden["final_ids"], np.concatenate([prompt, states[-1]]))
    plan = turns(
        CommitConfig("time", block=settings.get("block_size") or 0), rows, settings["steps"]
    )
    np.testing.assert_array_equal([turn.step for turn in plan], golden["step"])
    starts = sorted({turn.start for turn in plan})
    np.testing.assert_array_equal([starts.index(turn.start) for turn in plan], golden["block"])
    if name in ORIGIN:  # where a row is written, the probability of its symbol
        assert np.isfinite(golden["confidence"][written]).all()
