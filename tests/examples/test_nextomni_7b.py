"""examples/nextomni_7b.py on the tiny model: its stages, what it refuses before it starts, and that
a run goes on."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError, NextOmniError, UsageError

ROOT = Path(__file__).parents[2]
Room = collections.namedtuple("Room", "total used free")


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    return importlib.import_module("nextomni_7b")


@pytest.fixture
def config(tiny_bundle: Path) -> ModelConfig:
    return Bundle.open(tiny_bundle, verify_hashes=False).config


def given(folder: Path) -> argparse.Namespace:
    return argparse.Namespace(folder=folder, config="nextomni-7b", text_steps=3, keep=False)


def test_a_tiny_model_takes_every_stage_after_the_export(
    demo: ModuleType,
    config: ModelConfig,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nextomni_edge.measure import probe

    for name, size in {"SIDE": 128, "ROWS": 16, "SWEEP": 2**16, "REPEATS": 2}.items():
        monkeypatch.setattr(probe, name, size)
    shutil.copytree(tiny_bundle, tmp_path / "float16")
    told: list[tuple[str, float]] = []
    done: dict[str, Any] = {
        "export": demo.accounted(tmp_path / "float16") | {"peak_bytes": 1, "seconds": 1.0}
    }
    for stage in ("int8", "int4", "text", "image", "plan"):
        result = demo.run_stage(stage, tmp_path, config, 3, done, lambda *now: told.append(now))
        done[stage] = result | {"peak_bytes": 10**9, "seconds": 1.0}
    assert (
        done["int4"]["weights_on_disk"]
        == done["int4"]["weights_referenced"]
        < done["export"]["weights_on_disk"]
    )
    assert (
        done["text"]["generated"] == config.text.block_size
        and len(done["text"]["step_seconds"]) == 3
    )
    assert done["image"]["forwards"] == 1 and done["image"]["generated"] == config.image.positions
    assert (
        done["plan"]["text"]["measured_over_bound"] > 0
        and done["plan"]["image"]["step"]["generated"] == 4
    )
    assert all(0 <= share <= 1 for _, share in told) and ("image: step 1 of 1", 1.0) in told
    rows = demo.table(done).splitlines()
    assert len(rows) == 8 and rows[4].startswith("| int4 | 1.00 | 1 |")
    demo.check_limits(done)
    done["int4"]["peak_bytes"] = 2 * 10**9 + 1
    with pytest.raises(NextOmniError, match=r"stage int4 took 2\.00 GB, at most 2 are promised"):
        demo.check_limits(done)


def test_a_small_disk_or_memory_is_refused_before_anything_is_written(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = demo.named_config("nextomni-7b")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Room(10**12, 0, 20 * 10**9))
    with pytest.raises(
        UsageError,
        match=r"20\.0 GB free, 27\.\d GB are needed; free some or choose another --folder",
    ):
        demo.check_room(tmp_path, shape, {})
    done: dict[str, dict[str, Any]] = {"export": {}, "int8": {}}
    monkeypatch.setattr(demo, "free_memory", lambda: 10**9)
    with pytest.raises(
        UsageError,
        match=r"1\.0 GB of memory are free, \d\.\d GB are needed; end other programs first",
    ):
        demo.check_room(tmp_path, shape, done)
    monkeypatch.setattr(demo, "free_memory", lambda: 10**11)
    # the float16 bundle is there already: 20 GB are enough for INT4
    demo.check_room(tmp_path, shape, done)
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_after_the_stages_that_are_done(
    demo: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started: list[str] = []

    def stage(_: argparse.Namespace, name: str, tell: Any) -> dict[str, Any]:
        started.append(name)
        if name == "int4" and started.count("int4") == 1:
            raise KeyboardInterrupt
        (tmp_path / "float16").mkdir(exist_ok=True)
        tell(f"{name}: half", 0.5)
        return {"peak_bytes": 1, "seconds": 1.0}

    monkeypatch.setattr(demo, "supervised", stage)
    monkeypatch.setattr(demo, "check_room", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        demo.run_stages(given(tmp_path), demo.named_config("nextomni-7b"))
    assert (tmp_path / "float16").exists() and demo.load(tmp_path).keys() == {"export", "int8"}
    found = demo.run_stages(given(tmp_path), demo.named_config("nextomni-7b"))
    assert started == ["export", "int8", "int4", "int4", "text", "image", "plan"]
    assert (
        found.keys() == demo.STAGES.keys()
        and "nextomni-7b: 1000/1000 done" in capsys.readouterr().err
    )
    assert sum(demo.STAGES.values()) == pytest.approx(1.0)


def test_weights_that_no_graph_reads_are_found(
    demo: ModuleType, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nextomni_edge.bundle import accounting

    found = accounting.account(Bundle.open(tiny_bundle, verify_hashes=False))
    monkeypatch.setattr(
        accounting, "account", lambda _: dataclasses.replace(found, on_disk=found.on_disk + 1)
    )
    with pytest.raises(InputError, match="bytes of weights, its graphs reference"):
        demo.accounted(tiny_bundle)


@pytest.mark.slow
def test_the_command_itself_with_its_export(config: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(config.to_json()), encoding="utf-8")
    command = [
        sys.executable,
        str(ROOT / "examples" / "nextomni_7b.py"),
        "--config",
        str(tmp_path / "tiny.json"),
    ]
    command += ["--folder", str(tmp_path / "run"), "-o", str(tmp_path / "found.json")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["stages"].keys() == {"export", "int8", "int4", "text", "image", "plan"}
    assert not (tmp_path / "run" / "float16").exists() and (tmp_path / "run" / "int4").exists()
