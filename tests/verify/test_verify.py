"""A bundle proves itself: sound ones pass, and each way of changing one is found, by digests, by
outputs, or by both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import GateError, InputError
from nextomni_edge.tasks import PLANS
from nextomni_edge.verify import Report, VerificationError, replay, verify
from tests.tiny import COMPONENTS, tiny_model
from tests.verify import tamper

WEIGHT = "layers.0.mlp.up_proj.weight"
CONSTANT = "layers.1.input_layernorm.weight"  # small enough to stand inside the graph


def by_outputs(path: Path) -> Report:
    return replay(Bundle.open(path), check_digests=False)


def by_digests(path: Path) -> list[str]:
    return [
        failure for failure in replay(Bundle.open(path)).failures if failure.startswith("file ")
    ]


def flip(bit: int) -> tamper.Change:
    """Flip one bit of the first value."""

    def change(values: NDArray[Any]) -> None:
        values.reshape(-1).view(np.uint32)[0] ^= np.uint32(1 << bit)

    return change


def nudge(values: NDArray[Any]) -> None:
    values += np.float32(1e-3)


def to_nan(values: NDArray[Any]) -> None:
    values[...] = np.nan


def test_the_export_compared_every_component_and_every_task_with_pytorch(tiny_bundle: Path) -> None:
    parity = Bundle.open(tiny_bundle).manifest.parity
    assert parity["check"] == "full" and parity["against"] == "PyTorch"
    components, tasks = parity["components"], parity["tasks"]
    assert isinstance(components, dict) and isinstance(tasks, dict)
    assert components.keys() == set(COMPONENTS)
    assert tasks.keys() == {plan.name for plan in PLANS}
    assert all(task["draws"] > 0 for task in tasks.values())
    assert parity["failures"] == [] and parity["skipped"] == {}


def test_a_sound_bundle_replays_its_trace(tiny_bundle: Path) -> None:
    report = verify(tiny_bundle)
    assert report.failures == []
    assert report.digests == len(Bundle.open(tiny_bundle).manifest.files) - 1
    assert report.components.keys() == set(COMPONENTS)
    assert all(result.steps > 1 for result in report.tasks.values())
    assert report.near_ties == 0


def test_a_bundle_is_not_another_model(tiny_bundle: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(VerificationError, match="not the same as PyTorch") as caught:
        verify(tiny_bundle, against=other)
    assert caught.value.exit_code == 4
    assert set(caught.value.report.components) == set(COMPONENTS)


def test_the_last_bit_of_a_weight_is_found_by_its_digest(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.tensor(path, "backbone", WEIGHT, flip(0))
    assert by_outputs(path).failures == []  # no output can show it: that is why there are digests
    with pytest.raises(VerificationError, match="since the export") as caught:
        verify(path)
    assert isinstance(caught.value, GateError) and caught.value.exit_code == 4
    assert any(f"backbone: {WEIGHT}" in failure for failure in caught.value.report.failures)


@pytest.mark.parametrize("bit", [24, 27, 30])
def test_a_high_bit_of_a_weight_is_found_by_outputs_alone(
    bit: int, tiny_bundle: Path, tmp_path: Path
) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.tensor(path, "backbone", WEIGHT, flip(bit))
    assert any(failure.startswith("backbone") for failure in by_outputs(path).failures)


def test_a_constant_nudged_by_a_thousandth_is_found_both_ways(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.tensor(path, "backbone", CONSTANT, nudge)
    assert any(
        failure.startswith("backbone: hidden differs") for failure in by_outputs(path).failures
    )
    assert by_digests(path) == ["file backbone.onnx was changed since the export"]
    with pytest.raises(VerificationError):
        verify(path)


def test_an_attribute_nudged_by_a_thousandth_is_found_both_ways(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.attribute(path, "backbone", "epsilon", 1e-3)
    assert any(
        failure.startswith("backbone: hidden differs") for failure in by_outputs(path).failures
    )
    assert by_digests(path) == ["file backbone.onnx was changed since the export"]


def test_a_nan_output_fails_in_components_and_in_tasks(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.tensor(path, "backbone", CONSTANT, to_nan)
    failures = by_outputs(path).failures
    assert any(
        failure.startswith("backbone: output hidden is nan at batch 0, rows 0")
        for failure in failures
    )
    assert any(
        failure.startswith("text-to-image: step") and "hidden is nan" in failure
        for failure in failures
    )
    with pytest.raises(VerificationError) as caught:
        verify(path)
    assert caught.value.exit_code == 4


def test_a_changed_metric_table_is_found(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    content = bytearray((path / "metric_tables.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "metric_tables.safetensors").write_bytes(content)
    tamper.record(path, "metric_tables.safetensors")
    assert by_digests(path) == ["file metric_tables.safetensors was changed since the export"]


def test_a_bundle_without_a_trace_is_not_called_verified(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    data = json.loads((path / "manifest.json").read_text())
    data["files"].pop(data["golden"]["file"])
    (path / data["golden"]["file"]).unlink()
    (path / "manifest.json").write_text(json.dumps({**data, "golden": None}))
    with pytest.raises(InputError, match="no golden trace"):
        verify(path)


def test_the_trace_replays_in_a_process_without_torch(tiny_bundle: Path) -> None:
    blocked = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnx_ir', 'onnxscript']))"
    )
    script = (
        f"{blocked}\nfrom pathlib import Path\nfrom nextomni_edge.verify import"
        " verify\nprint(len(verify(Path(sys.argv[1])).tasks))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tiny_bundle)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, str(len(PLANS))), ended.stderr
