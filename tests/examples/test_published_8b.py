"""examples/published_8b.py and benchmarks/two_paths.py: shapes, tables and the small run."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nextomni_edge.models.networks import expected_shapes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module("published_8b")


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("two_paths")


def test_both_models_have_the_backbone_that_is_exported_once(demo: ModuleType) -> None:
    text, image = (expected_shapes(demo.config_of(name, False)) for name in ("text", "image"))
    assert text["text_head.weight"] == text["embed_text.weight"] == (126_464, 4_096)
    backbone = {name: shape for name, shape in text.items() if name.startswith("backbone.")}
    assert backbone == {n: shape for n, shape in image.items() if n.startswith("backbone.")}
    assert len(backbone) == 32 * 9 + 1
    assert demo.config_of("image", False).image.positions == 256


def test_a_stage_that_generates_has_its_time_in_the_table(demo: ModuleType) -> None:
    ran = {"peak_bytes": 5 * 10**9, "seconds": 90.0, "positions": 93, "steps": 8}
    done = {
        "int4": {"peak_bytes": 7 * 10**8, "seconds": 200.0, "bytes": 46 * 10**8},
        "text-8": ran | {"step_seconds": [10.0] * 8 + [0.0]},
    }
    rows = demo.table(done).splitlines()
    assert rows[2] == "| int4 | 0.70 | 200 | 4.60 |  |  |  |"
    assert rows[3] == "| text-8 | 5.00 | 90 |  | 93 | 10.00 | 80 (8 steps) |"


def test_words_that_are_asked_are_not_trained_on(paths: ModuleType) -> None:
    words = paths.words_of(300, seed=0)
    assert len(set(words)) == 300 and {len(word) for word in words} == {paths.LETTERS}
    assert words == paths.words_of(400, seed=0)[:300]
    assert paths.answer_of("tulip") == "tulip;pilut;ilptu"


def test_wilsons_interval_of_none_and_of_all(paths: ModuleType) -> None:
    assert paths.wilson(0, 100) == pytest.approx([0.0, 0.037], abs=1e-3)
    assert paths.wilson(100, 100) == pytest.approx([0.963, 1.0], abs=1e-3)


@pytest.mark.slow
def test_the_command_on_a_small_shape(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "published_8b.py"), "--small"]
    command += ["--folder", str(tmp_path / "run"), "-o", str(tmp_path / "found.json")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    stages = json.loads((tmp_path / "found.json").read_text())["stages"]
    assert stages["text-32"]["forwards"] == 32 and stages["text-8"]["forwards"] == 8
    assert stages["image"]["generated"] == 16 and stages["image"]["guidance"] == 4.0
    assert not (tmp_path / "run" / "float16").exists()
