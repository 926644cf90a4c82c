"""LLaDA's checkpoint in INT8 and INT4, held against the model in PyTorch with the same rounded
weights, and the calibration of a masked model over the share of its masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration.data.collect import Asked, Planned, collect
from nextomni_edge.calibration.quantize import quantize
from nextomni_edge.calibration.recipes.config import recipe
from nextomni_edge.calibration.report.agreement import predictions
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
from nextomni_edge.verify import verify
from tests.published.models import MakeOnce, bundled, imported


@pytest.mark.parametrize(
    "family",
    [
        "llada",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("mmada", "lumina_dimoo", "dream")
        ),
    ],
)
@pytest.mark.parametrize("name", ["int8-dynamic", "int4-rtn"])
def test_a_quantised_bundle_is_its_fake_quantised_reference(
    family: str, name: str, made_once: MakeOnce, tmp_path: Path
) -> None:
    quantize(bundled(family, made_once), tmp_path / "small", recipe(name))
    report = verify(tmp_path / "small", against=imported(family))
    assert report.failures == []
    assert report.tasks


def test_calibration_goes_over_the_share_of_masks(made_once: MakeOnce, tmp_path: Path) -> None:
    """Each bin holds states with fewer masks than the one before."""
    path = bundled("llada", made_once)
    model = EdgeModel.from_bundle(Bundle.open(path))
    source = Planned(model, list(Bundle.open(path).manifest.components))
    assert [task for task, _ in source.tasks] == ["text-to-text"]
    (trajectory,) = source.trajectories([0], 4, 0)
    assert collect(Bundle.open(path), source, tmp_path / "set", bins=4)
    mask = model.config.flow.text.mask
    left = [(x_t == mask).sum() for x_t in trajectory.x_t[0]]
    assert len(left) == 4
    assert (np.diff(left) < 0).all()


PICTURE = ("embed_text", "embed_image", "backbone", "image_head", "image_decoder")


class SmallPicture(Planned):
    """Lumina-DiMOO's picture of 2 x 2 codes, which has fewer rows than steps."""

    def asked(self, index: int) -> Asked:
        said = conversation(self.model.tokenizer, [Turn("user", (Part("text", "a"),))], "image")
        config, tokenizer = self.model.config, self.model.tokenizer
        return Asked(
            respond(said, "image", config, tokenizer, size=(32, 32)),
            super().asked(index).pixels,
            (),
        )


def test_a_picture_that_is_finished_early_gives_every_bin_a_moment() -> None:
    """Its last step stands for those behind it."""
    model = EdgeModel.from_checkpoint(imported("lumina_dimoo"))
    source = SmallPicture(model, PICTURE)
    steps = source.options("image").steps
    (trajectory,) = source.trajectories([0], steps, 0)
    assert len(trajectory.t) == steps
    last = np.flatnonzero(np.diff(trajectory.t) == 0)
    assert len(last) and (np.diff(trajectory.t)[last[0] :] == 0).all()
    for held in (*trajectory.x_t, *trajectory.x_1):
        assert (held[last] == held[-1]).all()


@pytest.mark.parametrize("family", ["mmada", "lumina_dimoo"])
def test_a_calibrated_picture_has_the_branch_that_guidance_compares_with(family: str) -> None:
    """Shorter than the other, for it lacks the text."""
    model = EdgeModel.from_checkpoint(imported(family))
    source = Planned(model, PICTURE)
    settings = source.options("image")
    (trajectory,) = source.trajectories([0], 4, 0)
    samples = trajectory.samples(model.unconditional)
    assert [sample.branch for sample in samples] == ["conditional", "unconditional"] * 4
    assert samples[1].sequence.length < samples[0].sequence.length
    found = predictions(model, trajectory, settings.guidance)
    assert found.shape[0] == 4 and np.isfinite(found).all()
