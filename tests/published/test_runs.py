"""Every recorded run, state for state, from the networks in PyTorch through our own loop."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from nextomni_edge.flow.arrays import Array
from nextomni_edge.generate import unmask
from nextomni_edge.generate.batch import Mask
from nextomni_edge.generate.logit_cache import LogitTrunk
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.rows import Ids
from tests.published.goldens import SETTINGS, arrays, close
from tests.published.models import imported
from tests.published.runs import all_runs, lumina_image_runs


@functools.cache
def model_of(family: str) -> EdgeModel:
    return EdgeModel.from_checkpoint(imported(family))


@pytest.mark.parametrize("name", list(all_runs()))
def test_a_recorded_run_repeats_state_for_state(name: str) -> None:
    run = all_runs()[name]
    run.check(model_of(run.family))


@pytest.mark.parametrize("name", list(SETTINGS["lumina_image"]))
def test_luminas_pictures_repeat_state_for_state(name: str) -> None:
    model = model_of("lumina_dimoo")
    run = next(run for run in lumina_image_runs(model) if run.name == name)
    run.check(model)


def test_luminas_cache_computes_the_recorded_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which steps are whole, which positions the others compute in each branch, and the logits of
    all positions, stale ones included."""
    golden, seen = arrays("lumina_dimoo"), list[tuple[Mask, list[Array]]]()

    class Watched(LogitTrunk):
        def refresh(self, x_t: Ids, due: Mask | None, last: bool) -> Mask:
            found = super().refresh(x_t, due, last)
            logits = [
                self.model.head("image", states[:, : branch.lengths[0]], np.zeros((1, 1, 1), int))
                for states, branch in zip(self.states, self.branches, strict=True)
            ]
            seen.append((self.computed[:, 0].copy(), [each[0, :, 0] for each in logits]))
            return found

    monkeypatch.setattr(unmask, "LogitTrunk", Watched)
    model = model_of("lumina_dimoo")
    next(run for run in lumina_image_runs(model) if run.name == "t2i_cache").check(model)
    assert len(seen) == len(golden["t2i_cache.refresh"])
    for step, (computed, logits) in enumerate(seen):
        if golden["t2i_cache.refresh"][step]:
            assert computed.sum(axis=1).tolist() == [len(each) for each in logits]
        else:
            np.testing.assert_array_equal(computed, golden["t2i_cache.to_compute"][step])
        for each, name in zip(logits, ("cond", "uncond"), strict=True):
            close(each, golden[f"t2i_cache.{name}_logits"][step])
