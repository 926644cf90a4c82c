"""benchmarks/runtime_speed.py: contenders in processes of their own, what they are compared by, and
what is not run."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("runtime_speed")


@pytest.fixture
def folder(tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path) -> Path:
    """What the script would make for --quick, of the tiny model; what stands beside it is of the
    whole shape."""
    (tmp_path / "quick").mkdir()
    for name, made in (("model", tiny_checkpoint), ("parent", tiny_bundle)):
        (tmp_path / "quick" / name).symlink_to(made)
        (tmp_path / name).mkdir()
    return tmp_path


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        BENCHMARKS / "runtime_speed.py",
        "--quick",
        "--threads",
        "1",
        "--folder",
        folder,
        *more,
    ]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(os.environ)
    )


def test_contenders_are_timed_and_held_against_the_reference(folder: Path) -> None:
    (folder / "quick" / "q4_0").mkdir()  # no bundle: this one cannot load
    ended = run(
        folder,
        "--contenders",
        "ONNX Runtime float32,PyTorch eager bfloat16,llama.cpp Q4_0",
        "-o",
        str(folder / "out.json"),
    )
    assert ended.returncode == 0, ended.stderr
    data = json.loads((folder / "out.json").read_text())
    errors = {(row["name"], row["rows"]): row["error"] for row in data["rows"]}
    names = ("PyTorch eager float32", "PyTorch eager bfloat16", "ONNX Runtime float32")
    assert errors.keys() == {(name, rows) for name in names for rows in (64, 256)}
    assert (
        errors[names[0], 64] == 0
        and 0 < errors[names[2], 256] < 1e-5
        and 1e-4 < errors[names[1], 64] < 0.1
    )
    assert all(len(row["seconds"]) == 1 and row["median_s"] > 0 for row in data["rows"])
    assert (
        list(data["not_run"]) == ["llama.cpp Q4_0"] and "not run: llama.cpp Q4_0: " in ended.stdout
    )
    # a head and three contenders
    assert sum(line.startswith("| ") for line in ended.stdout.splitlines()) == 4


def test_an_unknown_contender_is_named_with_those_there_are(folder: Path) -> None:
    ended = run(folder, "--contenders", "abacus")
    assert ended.returncode == 1 and ended.stderr.startswith(
        "contender 'abacus': expected some of PyTorch eager float32, "
    )


def test_a_ratio_is_of_medians_and_an_error_of_norms(speed: ModuleType) -> None:
    def row(name: str, seconds: list[float], hidden: list[float]) -> dict[str, Any]:
        return {
            "name": name,
            "rows": 64,
            "seconds": seconds,
            "hidden": np.array([hidden], np.float32),
        }

    found = [
        row(speed.REFERENCE, [1.0, 2.0, 9.0], [3.0, 4.0]),
        row("other", [9.0, 0.5, 0.1], [3.0, 4.5]),
    ]
    speed.summarise(found)
    assert [(one["times_as_fast"], one["error"]) for one in found] == [
        (1.0, 0.0),
        (4.0, pytest.approx(0.1)),
    ]


class Answers:
    """A contender whose every answer lets a second pass."""

    name = "answers"

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0

    def seconds(self, rows: int, file: str | None = None) -> float:
        self.now += 1.0
        self.asked += 1
        if file:
            np.save(file, np.zeros((rows, 2), np.float32))
        return 1.0


def test_no_round_begins_when_the_time_is_used_up(
    speed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Answers()
    monkeypatch.setattr(speed.time, "monotonic", lambda: one.now)
    found = speed.measure([one], rounds=100, budget=5.0)
    assert [len(row["seconds"]) for row in found] == [3, 3] and one.asked == 2 + 6
