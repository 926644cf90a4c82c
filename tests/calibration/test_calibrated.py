"""What calibration decides: smoothing is exact but for rounding, ranges hold 0, and calibrated bundles are their own model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.calibrated import affine, smoothquant
from nextomni_edge.calibration.collect import Random, collect
from nextomni_edge.calibration.config import Int8Static, recipe
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.verify import verify


def test_smoothing_evens_out_loud_channels() -> None:
    x, w = np.array([100.0, 1.0, 1.0]), np.array([1.0, 1.0, 4.0], np.float32)
    smoothing = smoothquant(x, w, 0.5)
    assert np.allclose(x * smoothing, w / smoothing)  # α = 1/2 brings both to their geometric mean
    assert np.allclose(smoothquant(x, w, 1.0) * x, 1.0)  # α = 1 moves all of it into the weight
    assert np.isfinite(smoothquant(np.zeros(3), w, 0.5)).all()


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.5, 3.0), (-3.0, -0.5), (0.0, 0.0)])
def test_a_range_holds_0_exactly(low: float, high: float) -> None:
    scale, zero = affine(low, high)
    assert scale > 0 and zero == int(zero) and 0 <= zero <= 255
    reach = (np.array([0, 255]) - zero) * scale
    assert reach[0] <= min(low, 0) + scale and reach[1] >= max(high, 0) - scale


def test_a_recipe_that_needs_calibration_says_so(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give one with --calibration"):
        quantize(tiny_bundle, tmp_path / "out", recipe("int4-gptq"))
    with pytest.raises(InputError, match=r"no provenance\.json inside"):
        quantize(tiny_bundle, tmp_path / "out", recipe("int4-gptq"), calibration=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_calibrated_bundles_are_the_model_with_the_same_integers(tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    collect(bundle, Random(EdgeModel.from_bundle(bundle), bundle.manifest.components, 1), tmp_path / "set", 4)
    for name, config in {
        "smooth": recipe("int8-static"), "percentile": Int8Static("percentile", 0.0), "gptq": recipe("int4-gptq"),
        "awq": recipe("int4-awq"),
    }.items():  # fmt: skip
        report = quantize(tiny_bundle, tmp_path / name, config, calibration=tmp_path / "set")
        manifest = Bundle.open(tmp_path / name).manifest
        assert manifest.quantisation is not None and manifest.quantisation.random_calibration
        decisions = manifest.components["backbone"].quantisation.values()
        assert {decision.smoothed for decision in decisions} == {name in ("smooth", "awq")}
        assert report.divergence is not None and report.divergence < 1.0
        verify(tmp_path / name, tiny_checkpoint)
