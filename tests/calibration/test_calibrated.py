"""What calibration decides: smoothing is exact but for rounding, ranges hold 0, and calibrated
bundles are their own model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.onnx_graph import load_graph
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.data.samples import CalibrationSet
from nextomni_edge.calibration.layers import layers
from nextomni_edge.calibration.recipes import calibrated
from nextomni_edge.calibration.recipes.calibrated import Inputs, affine, inputs_of, smoothquant
from nextomni_edge.calibration.recipes.config import (
    Int4,
    Int8Static,
    Mixed,
    QuantConfig,
    read_config,
    recipe,
    to_json,
)
from nextomni_edge.calibration.recipes.handlers import decide
from nextomni_edge.errors import GateError, InputError, UsageError
from nextomni_edge.verify import verify
from nextomni_edge.verify.reference import Reference
from tests.verify import tamper


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


def inputs(
    bundle: Path, calibration: CalibrationSet, config: QuantConfig, component: str
) -> dict[str, Inputs]:
    parent = Bundle.open(bundle)
    own = layers(component, load_graph(parent, component))
    plan = {
        layer.name: decision for layer in own if (decision := decide(config, layer)) is not None
    }
    return inputs_of(parent, calibration, config, plan, own)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_a_range_is_read_off_what_is_rounded_smoothed_or_not(
    smoothing: float, tiny_bundle: Path, numbers: CalibrationSet
) -> None:
    narrow = inputs(tiny_bundle, numbers, Int8Static("mse", smoothing), "backbone")
    wide = inputs(tiny_bundle, numbers, Int8Static("minmax", smoothing), "backbone")
    scales = [
        (narrow[name].activation or (0.0,))[0] / (found.activation or (0.0,))[0]
        for name, found in wide.items()
    ]
    assert max(scales) <= 1 and np.mean(scales) < 0.98 and len(scales) == 14
    assert all((found.smoothing is None) == (smoothing == 0) for found in wide.values())


def test_a_layer_that_the_set_never_reaches_is_named(
    tiny_bundle: Path, numbers: CalibrationSet, tmp_path: Path
) -> None:
    shutil.copytree(numbers.path, tmp_path / "set")
    kept = [one for one in numbers.record.trajectories if one.answer == "text"][:1]
    few = CalibrationSet(
        tmp_path / "set", dataclasses.replace(numbers.record, trajectories=tuple(kept))
    )
    shutil.copy(numbers.file(numbers.record.trajectories.index(kept[0])), few.file(0))
    with pytest.raises(
        InputError,
        match=r"image_head/\S+: the calibration set never reaches this layer; add prompts",
    ):
        inputs(tiny_bundle, few, recipe("int8-static"), "image_head")


@pytest.fixture(scope="module")
def rounded_decoder(
    tiny_bundle: Path, numbers: CalibrationSet, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("static") / "out"
    skipped = tuple(
        name for name in Bundle.open(tiny_bundle).manifest.components if name != "image_decoder"
    )
    quantize(tiny_bundle, out, Int8Static(skip=skipped), calibration=numbers.path)
    return out


def decoded(bundle: Path, checkpoint: Path) -> dict[str, np.ndarray]:
    opened = Bundle.open(bundle)
    image = opened.config.image
    codes = np.random.default_rng(0).integers(
        0, image.codebook.entries, (1, image.positions, image.codebook.codebooks)
    )
    return Reference(opened, checkpoint).run("image_decoder", {"codes": codes})


def test_rounded_convolutions_are_what_pytorch_computes_with_the_same_integers(
    rounded_decoder: Path, tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    rounded, whole = (
        decoded(path, tiny_checkpoint)["pixels"] for path in (rounded_decoder, tiny_bundle)
    )
    assert 0 < np.abs(rounded - whole).mean() < 0.02


def test_a_mixed_recipe_takes_static_ranges_for_encoders_and_decoders(
    tiny_bundle: Path, numbers: CalibrationSet, tmp_path: Path
) -> None:
    skipped = tuple(
        name for name in Bundle.open(tiny_bundle).manifest.components if name != "image_decoder"
    )
    config = Mixed(max_kl=1.0, media=Int8Static(skip=()), skip=skipped)
    (tmp_path / "config.json").write_text(json.dumps(to_json(config)))
    assert read_config(tmp_path / "config.json") == config
    quantize(tiny_bundle, tmp_path / "out", config, calibration=numbers.path)
    decisions = (
        Bundle.open(tmp_path / "out").manifest.components["image_decoder"].quantisation.values()
    )
    assert {decision.scheme for decision in decisions if decision.operator == "conv"} == {"static"}
    with pytest.raises(UsageError, match="give one with --calibration"):
        quantize(tiny_bundle, tmp_path / "more", config)


def test_an_output_range_that_is_not_the_graphs_is_found(
    rounded_decoder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tamper.copy(rounded_decoder, tmp_path / "bundle")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["components"]["image_decoder"]["quantisation"]["refine.1.weight"]["output"][0] *= 1.1
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        GateError, match=r"image_decoder: the output of refine\.1\.weight is no rounding"
    ):
        decoded(path, tiny_checkpoint)


def test_fp8_rounds_what_products_read_and_is_what_pytorch_computes_so(
    fp8_bundle: Path, tiny_checkpoint: Path
) -> None:
    components = Bundle.open(fp8_bundle).manifest.components
    decisions = [
        *components["backbone"].quantisation.values(),
        *components["text_head"].quantisation.values(),
    ]
    assert {(decision.scheme, decision.bits) for decision in decisions} == {("float8", 8)} and len(
        decisions
    ) == 15
    # of 3 bits of mantissa
    assert all(decision.activation and 0 < decision.weight_error < 0.04 for decision in decisions)
    image = components["image_head"].quantisation.values()
    # a matrix per sub-code stays float
    assert {decision.scheme for decision in image} == {"float8", "rows"}
    verified = verify(fp8_bundle, tiny_checkpoint)
    assert (
        verified.components["backbone"].error <= 2e-5
        and verified.components["image_head"].error <= 2e-5
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_calibrated_bundles_are_the_model_with_the_same_integers(
    tiny_bundle: Path, tiny_checkpoint: Path, numbers: CalibrationSet, tmp_path: Path
) -> None:
    for name, config in {
        "smooth": recipe("int8-static"),
        "percentile": Int8Static("percentile", 0.0, encoders="static"), "gptq": recipe("int4-gptq"),
        "awq": recipe("int4-awq"), "fp8": recipe("fp8"),
    }.items():  # fmt: skip
        report = quantize(tiny_bundle, tmp_path / name, config, calibration=numbers.path)
        manifest = Bundle.open(tmp_path / name).manifest
        assert manifest.quantisation is not None and manifest.quantisation.random_calibration
        decisions = manifest.components["backbone"].quantisation.values()
        assert {decision.smoothed for decision in decisions} == {name in ("smooth", "awq")}
        assert report.divergence is not None and report.divergence < 1.0
        verify(tmp_path / name, tiny_checkpoint)
        convolutions = {
            component: {
                own.scheme
                for own in manifest.components[component].quantisation.values()
                if own.operator == "conv"
            }
            for component in ("image_decoder", "audio_decoder", "image_encoder", "audio_encoder")
        }
        decoders, encoders = list(convolutions.values())[:2], list(convolutions.values())[2:]
        assert decoders == [{"static" if name in ("smooth", "percentile") else "stored"}] * 2
        assert encoders == [{"static" if name == "percentile" else "stored"}] * 2


def test_the_frontier_of_a_mixed_recipes_int4_is_applied() -> None:
    of_int4 = Int4("gptq", frontier=4.0)
    assert calibrated._frontier(of_int4) == 4.0
    assert calibrated._frontier(Mixed(max_kl=1.0, int4=of_int4)) == 4.0
    assert calibrated._frontier(Mixed(max_kl=1.0)) == calibrated._frontier(Int8Static()) == 1.0
