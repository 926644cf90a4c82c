"""LLaDA's checkpoint in INT8 and INT4, held against the model in PyTorch with the same rounded
weights, and the calibration of a masked model over the share of its masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration.data.collect import Planned, collect
from nextomni_edge.calibration.quantize import quantize
from nextomni_edge.calibration.recipes.config import recipe
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.verify import verify
from tests.published.models import imported

MakeOnce = Callable[[str, Callable[[Path], object]], Path]


def bundle(family: str, made_once: MakeOnce) -> Path:
    """The one that test_exported.py makes."""
    return made_once(
        f"published-{family}", lambda out: export_bundle(imported(family), out, verify="full")
    )


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
    quantize(bundle(family, made_once), tmp_path / "small", recipe(name))
    report = verify(tmp_path / "small", against=imported(family))
    assert report.failures == []
    assert report.tasks


def test_calibration_goes_over_the_share_of_masks(made_once: MakeOnce, tmp_path: Path) -> None:
    """Each bin holds states with fewer masks than the one before."""
    path = bundle("llada", made_once)
    model = EdgeModel.from_bundle(Bundle.open(path))
    source = Planned(model, list(Bundle.open(path).manifest.components))
    assert [task for task, _ in source.tasks] == ["text-to-text"]
    (trajectory,) = source.trajectories([0], 4, 0)
    assert collect(Bundle.open(path), source, tmp_path / "set", bins=4)
    mask = model.config.flow.text.mask
    left = [(x_t == mask).sum() for x_t in trajectory.x_t[0]]
    assert len(left) == 4
    assert (np.diff(left) < 0).all()
