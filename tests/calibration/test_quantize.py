"""A whole bundle quantised: it is the model with the same integers, every task of it, and what is
not so is found."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.recipes.config import Int8Dynamic, recipe
from nextomni_edge.errors import GateError, InputError, UsageError
from nextomni_edge.export import export_bundle
from nextomni_edge.tasks import PLANS
from nextomni_edge.verify import VerificationError, replay, verify
from tests.calibration.configs import CONFIGS, EACH
from tests.tiny import tiny_config, tiny_model
from tests.verify import tamper

MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session", params=EACH)
def quantised(request: pytest.FixtureRequest, tiny_bundle: Path, made_once: MadeOnce) -> Path:
    name: str = request.param
    return made_once(
        f"quantised-{name}",
        lambda out: quantize(tiny_bundle, out, CONFIGS[name], overwrite=out.exists()),
    )


@pytest.fixture(scope="session")
def int4(tiny_bundle: Path, made_once: MadeOnce) -> Path:
    return made_once(
        "quantised-int4",
        lambda out: quantize(tiny_bundle, out, CONFIGS["int4"], overwrite=out.exists()),
    )


def test_every_component_and_every_task_is_the_models_with_the_same_integers(
    quantised: Path, tiny_checkpoint: Path
) -> None:
    report = verify(quantised, tiny_checkpoint)
    assert report.tasks.keys() == {plan.name for plan in PLANS} and not report.skipped
    assert all(
        part.error <= 2e-5 for name, part in report.components.items() if name != "audio_decoder"
    )
    assert all(task.draws > 0 and not task.near_ties for task in report.tasks.values())


def test_the_golden_trace_is_the_quantised_bundles_own(quantised: Path) -> None:
    report = replay(Bundle.open(quantised))
    assert report.failures == [] and report.digests > 0
    assert all(part.error == 0.0 for part in report.components.values())


def test_each_layer_has_its_decision_and_its_bytes(quantised: Path) -> None:
    bundle = Bundle.open(quantised)
    found = bundle.manifest.components["backbone"].quantisation
    assert len(found) == 14 and all(
        decision.bytes > 0 and 0 < decision.weight_error < 0.2 for decision in found.values()
    )
    assert bundle.manifest.quantisation is not None and bundle.manifest.quantisation.parent != ""


def test_tables_heads_and_skipped_components_choose_for_themselves(
    tiny_bundle: Path, made_once: MadeOnce
) -> None:
    name = "int4-asymmetric"
    path = made_once(
        f"quantised-{name}",
        lambda out: quantize(tiny_bundle, out, CONFIGS[name], overwrite=out.exists()),
    )
    components = Bundle.open(path).manifest.components
    assert components["embed_text"].quantisation["weight"].bits == 8
    assert set(components["image_head"].quantisation) == {"embedding"}
    assert components["audio_decoder"].quantisation == {}
    assert {decision.scheme for decision in components["image_encoder"].quantisation.values()} == {
        "stored"
    }


def test_a_quantised_bundle_runs_every_task_without_pytorch_and_onnx_ir(int4: Path) -> None:
    blocked = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnx_ir', 'onnxscript']))"
    )
    script = (
        f"{blocked}\nfrom pathlib import Path\nfrom nextomni_edge.bundle import Bundle\nfrom"
        " nextomni_edge.verify import replay\nreport ="
        f" replay(Bundle.open(Path({str(int4)!r}))).require()\nprint(len(report.tasks))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == len(PLANS)


def test_scales_that_are_off_are_found_against_the_model(
    int4: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    def grow(scales: np.ndarray) -> None:
        scales *= np.float16(1.05)

    path = tamper.copy(int4, tmp_path / "bundle")
    tamper.tensor(path, "backbone", "layers.0.mlp.up_proj.weight.scale", grow)
    with pytest.raises(
        GateError,
        match=r"layers\.0\.mlp\.up_proj\.weight: the integers are .* made of another model",
    ):
        verify(path, tiny_checkpoint)


def test_another_models_integers_are_found(int4: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    shutil.copy(Bundle.open(int4).tokenizer_path, other / "tokenizer.json")
    with pytest.raises(GateError, match="made of another model"):
        verify(int4, other)


def test_a_runtime_that_rounds_otherwise_than_stated_is_found(
    int4: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tamper.copy(int4, tmp_path / "bundle")
    model = onnx.load(path / "backbone.onnx", load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    tamper._save(path, "backbone", model)
    with pytest.raises(VerificationError, match="backbone: "):
        verify(path, tiny_checkpoint)


def test_int8_and_int4_are_smaller_by_their_bits(tiny_bundle: Path, tmp_path: Path) -> None:
    # layers of 48 by 96 values: scales weigh more than in a model
    for name, least in (("int8-dynamic", 3.0), ("int4-rtn", 4.5)):
        quantize(tiny_bundle, tmp_path / name, recipe(name))
        layers = Bundle.open(tmp_path / name).manifest.components["backbone"].quantisation
        stored = sum(decision.bytes for decision in layers.values())
        assert 2 * (2 * 48 * 48 + 2 * 48 * 24 + 3 * 48 * 96) * 4 / stored > least


def test_one_weight_serves_a_tied_table_and_its_head(tmp_path: Path) -> None:
    config = tiny_config()
    tied = tiny_model(
        tmp_path / "tied",
        dataclasses.replace(config, text=dataclasses.replace(config.text, tied_head=True)),
    )
    export_bundle(tied, tmp_path / "bundle", components=["embed_text", "text_head"])
    quantize(tmp_path / "bundle", tmp_path / "int4", recipe("int4-rtn"))
    bundle = Bundle.open(tmp_path / "int4")
    # integers and scales
    assert len([name for name in bundle.manifest.files if name.startswith("weights/")]) == 2
    verify(bundle, tied)
    with pytest.raises(UsageError, match="no whole generation in a golden trace to measure on"):
        quantize(tmp_path / "bundle", tmp_path / "gated", recipe("int4-rtn"), max_kl=0.1)


def test_what_is_no_bundle_of_onnx_graphs_is_refused_by_name(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is a model directory; export it first"):
        quantize(tiny_checkpoint, tmp_path / "out", recipe("int8-dynamic"))
    with pytest.raises(InputError, match="no such directory; expected a bundle"):
        quantize(tmp_path / "nowhere", tmp_path / "out", recipe("int8-dynamic"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_core_ml_bundle_is_refused_by_name(tiny_coreml_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=(
            "embed_text is of format coreml; quantize reads ONNX graphs: export with --target onnx"
        ),
    ):
        quantize(tiny_coreml_bundle, tmp_path / "out", recipe("int8-dynamic"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_quantised_is_refused(tiny_bundle: Path, int4: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is quantised already"):
        quantize(int4, tmp_path / "twice", recipe("int8-dynamic"))
    with pytest.raises(UsageError, match="did you mean 'audio_head'"):
        quantize(tiny_bundle, tmp_path / "skip", Int8Dynamic(skip=("audio_haed",)))
    with pytest.raises(UsageError, match="exists"):
        quantize(tiny_bundle, int4, recipe("int8-dynamic"))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_weight_that_is_not_finite_leaves_nothing_behind(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    def spoil(values: np.ndarray) -> None:
        values[7] = np.nan

    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.tensor(path, "backbone", "layers.1.mlp.down_proj.weight", spoil)
    with pytest.raises(
        InputError,
        match=r"tensor backbone/layers\.1\.mlp\.down_proj\.weight has values that are not finite",
    ):
        quantize(path, tmp_path / "out", recipe("int4-rtn"))
    assert [left.name for left in tmp_path.iterdir()] == ["bundle"]


def test_the_manifest_of_a_plain_bundle_says_nothing_of_quantisation(tiny_bundle: Path) -> None:
    data = json.loads((tiny_bundle / "manifest.json").read_text())
    assert data["quantisation"] is None and data["components"]["backbone"]["quantisation"] == {}


def test_a_bundle_whose_weights_have_a_second_name_is_quantised(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """A backup's, or that of another process that compiles the bundle."""
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    shutil.copytree(tmp_path / "bundle", tmp_path / "backup", copy_function=os.link)
    quantize(tmp_path / "bundle", tmp_path / "out", recipe("int4-rtn"))
    assert Bundle.open(tmp_path / "out").manifest.quantisation is not None
