"""benchmarks/forwards.py: which n is found to be enough, what is scored, and that a run goes on
where it stopped."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(
        sys, "path", [str(ROOT / "benchmarks"), str(ROOT / "examples" / "emoji"), *sys.path]
    )
    return importlib.import_module("forwards")


def point(stepping: str | None, steps: int, value: float) -> dict[str, Any]:
    return {
        "stepping": stepping,
        "steps": steps,
        "value": value,
        "ci95": [value - 0.1, value + 0.1],
    }


def test_the_smallest_n_is_the_first_not_below_the_reference_s_interval(
    forwards: ModuleType, tmp_path: Path
) -> None:
    results = forwards.Results(tmp_path / "f.json", {})
    results.add("image", "corrected 4", point("corrected", 4, 0.75))
    assert results.smallest() == {}  # nothing to compare with yet
    for name, found in {
        "euler 64": point("euler", 64, 0.8),
        "euler 8": point("euler", 8, 0.69),
        "euler 16": point("euler", 16, 0.71),
        "euler 32": point("euler", 32, 0.9),
        "corrected 2": point("corrected", 2, 0.5),
        "prefix": point(None, 1, 0.9),
    }.items():
        results.add("image", name, found)
    assert results.smallest() == {"image": {"euler": 16, "corrected": 4}}
    assert json.loads((tmp_path / "f.json").read_text())["smallest"] == results.smallest()


def test_another_bundle_starts_anew(forwards: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    forwards.Results.open(path, {"bundle": "a"}).add("text", "euler 2", point("euler", 2, 0.5))
    assert list(forwards.Results.open(path, {"bundle": "a"}).scores["text"]) == ["euler 2"]
    assert forwards.Results.open(path, {"bundle": "b"}).scores == {}


def test_the_table_has_a_cell_for_what_was_scored_and_the_least_n_last(
    forwards: ModuleType,
) -> None:
    points = {
        "euler 64": point("euler", 64, 0.8),
        "corrected 2": point("corrected", 2, 0.75),
        "prefix": point(None, 8, 0.9),
    }
    data = {"scores": {"audio": points}, "smallest": {"audio": {"euler": 64, "corrected": 2}}}
    assert forwards.table(data).splitlines() == [
        "| n | audio, euler | audio, corrected |",
        "| ---: | ---: | ---: |",
        "| 2 |  | 75 (65 to 85) |",
        "| 64 | 80 (70 to 90) |  |",
        "| least n inside | 64 | 2 |",
    ]
