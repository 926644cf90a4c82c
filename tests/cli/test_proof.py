"""The proof is of what runs: `verify` and `doctor` replay where `run` would, and what they did not
check is no success."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextomni_edge.runtimes import choice
from nextomni_edge.tasks import PLANS
from tests.calls import Invoke, answered, refused
from tests.verify import tamper

Variant = Callable[[str], Path]
OPENVINO = "what is checked on OpenVINO needs openvino"


def checks(result: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def shift(values: NDArray[Any]) -> None:
    values += np.float32(0.25)


def test_doctor_and_verify_replay_where_run_would(invoke: Invoke, tiny_bundle: Path) -> None:
    pytest.importorskip("openvino", reason=OPENVINO)
    choice.keep(tiny_bundle, "openvino", 1.5, {})
    found = answered(invoke("verify", tiny_bundle, "--json"))
    assert (found["runtime"], found["providers"]) == ("openvino", ["CPU"])
    replayed = checks(invoke("doctor", tiny_bundle, "--json"))
    assert replayed["golden trace"]["detail"] == "replayed on openvino (CPU, float32)"
    assert "openvino: measured 1.50 times as fast" in replayed["runs on"]["detail"]
    asked = checks(invoke("doctor", tiny_bundle, "--runtime", "onnx", "--json"))
    assert asked["runs on"]["detail"] == "onnx: as asked"
    assert "onnx (CPUExecutionProvider, float32)" in asked["golden trace"]["detail"]


@pytest.mark.parametrize("command", ["verify", "doctor"])
def test_a_generation_that_is_not_checked_is_no_success(
    invoke: Invoke, variant: Variant, command: str
) -> None:
    pytest.importorskip("openvino", reason=OPENVINO)
    asked = (command, variant("int4"), "--runtime", "openvino")
    left = invoke(*asked)
    assert left.exit_code == 4, left.output
    assert f"{len(PLANS)} of {len(PLANS)} generations were not checked on openvino" in left.output
    assert "all is well" not in left.output
    allowed = invoke(*asked, "--allow-unchecked", "--json")
    assert allowed.exit_code == 0 and json.loads(allowed.stdout)["ok"] is True
    if command == "verify":
        assert json.loads(allowed.stdout)["unchecked"] == [plan.name for plan in PLANS]
        assert f"{len(PLANS)} generations NOT CHECKED" in left.stdout.splitlines()[-1]


def test_on_its_default_runtime_a_quantised_bundle_is_checked_whole(
    invoke: Invoke, variant: Variant
) -> None:
    found = answered(invoke("verify", variant("int4"), "--json"))
    assert found["unchecked"] == [] and found["tasks"].keys() == {plan.name for plan in PLANS}
    assert all(task["draws"] == task["all_draws"] > 0 for task in found["tasks"].values())
    # its trace is of its own graphs, and that is said
    assert "not compared with PyTorch" in found["notes"][0]


def test_bisect_names_where_each_component_parts_and_keeps_the_failures(
    invoke: Invoke, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    for component, weight in (
        ("backbone", "layers.1.self_attn.v_proj.bias"),
        ("image_decoder", "refine.1.bias"),
    ):
        tamper.tensor(path, component, weight, shift)
    result = invoke("verify", path, "--against", tiny_checkpoint, "--bisect")
    assert result.exit_code == 4
    lines = result.stdout.splitlines()
    assert sum(line.startswith("FAIL: backbone: hidden differs") for line in lines) >= 1
    assert sum(line.startswith("FAIL: image_decoder: pixels differ") for line in lines) >= 1
    divergences = [line for line in lines if line.startswith("first divergence of ")]
    assert [line.split(":")[0].split()[-1] for line in divergences] == ["backbone", "image_decoder"]
    assert "(Add) differs by" in divergences[0] and "(Conv) differs by" in divergences[1]


def test_what_cannot_be_bisected_keeps_its_failures_too(
    invoke: Invoke, variant: Variant, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tamper.copy(variant("int8"), tmp_path / "bundle")
    tamper.tensor(path, "backbone", "layers.1.self_attn.v_proj.bias", shift)
    result = invoke("verify", path, "--against", tiny_checkpoint, "--bisect")
    assert result.exit_code == 4 and "FAIL: backbone: " in result.stdout
    assert (
        "first divergence of backbone: not found: backbone: its layers are quantised"
        in result.stdout
    )


def test_another_source_than_the_manifests_is_said(
    invoke: Invoke, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    with (model / "tokenizer.json").open("a") as file:
        file.write("\n")
    result = invoke("verify", tiny_bundle, "--against", model)
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stdout.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert f"tokenizer.json of {model} is not the file that {tiny_bundle} was exported" in notes[0]


def test_doctor_groups_its_checks_and_is_quiet_about_what_is_well(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path
) -> None:
    lines = invoke("doctor", tiny_bundle).stdout.splitlines()
    groups = [line for line in lines if line and line[:4].strip() not in ("ok", "none", "FAIL")]
    assert groups == [
        "machine", "libraries", "runtimes", "bundle", "proof", "all is well",
    ]  # fmt: skip
    assert invoke("doctor", tiny_bundle, "-q").stdout == "all is well\n"
    failed = invoke("doctor", tmp_path / "none", "-q").stdout.splitlines()
    assert failed[0] == "bundle" and failed[1].startswith("FAIL  bundle") and len(failed) == 3


def test_a_model_directory_is_no_bundle_to_verify(invoke: Invoke, tiny_checkpoint: Path) -> None:
    refused(invoke("verify", tiny_checkpoint), 3, "manifest.json")
