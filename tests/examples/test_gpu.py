"""benchmarks/gpu.py rehearsed on the processor: every phase, one that fails, and one that the time
does not reach."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def folder(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny model in the place of the shape that a rehearsal makes."""
    found = tmp_path_factory.mktemp("gpu")
    (found / "small").mkdir()
    for name, made in (("model", tiny_checkpoint), ("parent", tiny_bundle)):
        (found / "small" / name).symlink_to(made)
    return found


def run(
    folder: Path, *more: str, bundle: str = "small/parent"
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    given = {
        "--provider": "cpu", "--bundle": folder / bundle, "--model": folder / "small/model",
        "--folder": folder, "-o": folder / "out.json",
    }  # fmt: skip
    options = [str(part) for pair in given.items() for part in pair]
    ended = subprocess.run(
        [sys.executable, SCRIPT, *options, *more], capture_output=True, text=True, check=False
    )
    return ended, json.loads((folder / "out.json").read_text())


def test_tokens_are_compared_on_the_processor(folder: Path) -> None:
    ended, found = run(folder, "--phases", "tokens,caches,torch,engines")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert found["tokens"]["ok"] and len(found["tokens"]["tasks"]) == 9
    assert all(row["equal"] == 1.0 for row in found["caches"]["text-to-image"])
    assert found["caches"]["provider"] == ["CPUExecutionProvider"]
    assert found["torch"]["ok"] and found["torch"].keys() > {"bfloat16", "float16"}
    assert found["engines"]["not_run"].startswith("error: ")


@pytest.mark.slow
def test_variants_and_steps_are_rehearsed_on_the_processor(folder: Path) -> None:
    ended, found = run(folder, "--phases", "variants,steps")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert found["variants"]["int4-rtn"]["ok"]
    rows = found["steps"]["rows"]
    errors = {row["name"]: row["error"] for row in rows if row["rows"] == 64}
    assert errors["PyTorch eager float32"] == 0 and errors["ONNX Runtime float32"] < 1e-5
    assert all(row["compute_share"] > 0 and row["bandwidth_share"] > 0 for row in rows)


def test_a_phase_that_fails_takes_no_other_with_it(folder: Path) -> None:
    ended, found = run(folder, "--phases", "machine,tokens", bundle="absent")
    assert ended.returncode == 4
    assert found["tokens"] == {"error": "its process ended with 1"}
    assert "nextomni-edge" in found["machine"]["versions"]
    assert "tokens: its process ended with 1" in ended.stdout


def test_a_phase_that_the_time_does_not_reach_is_listed(folder: Path) -> None:
    ended, found = run(folder, "--phases", "machine,tokens", "--seconds", "1.5")
    assert ended.returncode in (0, 4)  # a slow machine stops the first phase, too
    assert found["not_begun"] == ["tokens"]
    assert "tokens: not begun, no time was left" in ended.stdout
