"""Every recorded run, state for state, from the networks in PyTorch through our own loop."""

from __future__ import annotations

import functools

import pytest

from nextomni_edge.generate.model import EdgeModel
from tests.published.goldens import SETTINGS
from tests.published.models import imported
from tests.published.runs import all_runs, lumina_image_runs


@functools.cache
def model_of(family: str) -> EdgeModel:
    return EdgeModel.from_checkpoint(imported(family))


@pytest.mark.parametrize("name", list(all_runs()))
def test_a_recorded_run_repeats_state_for_state(name: str) -> None:
    run = all_runs()[name]
    run.check(model_of(run.family))


@pytest.mark.parametrize(
    "name", [name for name, run in SETTINGS["lumina_image"].items() if not run.get("use_cache")]
)
def test_luminas_pictures_repeat_state_for_state(name: str) -> None:
    model = model_of("lumina_dimoo")
    run = next(run for run in lumina_image_runs(model) if run.name == name)
    run.check(model)
