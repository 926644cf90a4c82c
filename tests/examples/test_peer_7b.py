"""benchmarks/peer_7b.py and second_start.py: what is compared, and what a start measures."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("peer_7b")


def row(name: str, seconds: list[float], error: float = 0.0) -> dict[str, Any]:
    hidden = np.array([[3.0, 4.0 + error]], np.float32)
    return {"name": name, "rows": 64, "seconds": seconds, "hidden": hidden}


def test_a_ratio_is_round_by_round_against_the_faster_peer_of_the_same_bits(
    peer: ModuleType,
) -> None:
    found = [
        row(peer.REFERENCE, [8.0, 8.0, 8.0]),
        row("OpenVINO INT4", [1.0, 4.0, 1.0], error=0.5),
        row("llama.cpp Q4_0", [4.0, 4.0, 3.0]),
        row("llama.cpp Q4_0, flash attention", [2.0, 8.0, 9.0]),
        row("ONNX Runtime INT8 static", [1.0, 1.0, 1.0]),
        row("llama.cpp Q8_0", [5.0, 5.0, 5.0]),
    ]
    peer.summarise(found, layers=4, ceilings=[{"int8": 4e12, "float32": 1e12}])
    by_name = {each["name"]: each for each in found}
    assert by_name["OpenVINO INT4"]["against_llamacpp"] == 2.0  # of 2, 1 and 3
    assert by_name["OpenVINO INT4"]["error"] == pytest.approx(0.1)
    assert by_name["ONNX Runtime INT8 static"]["against_llamacpp"] == 5.0
    assert by_name[peer.REFERENCE]["against_llamacpp"] is None
    shares = by_name[peer.REFERENCE]["of_roofline"]
    assert shares["float32"] == pytest.approx(4 * shares["int8"])
    assert by_name[peer.REFERENCE]["layer_s"] == 2.0


def test_a_forward_has_the_operations_of_seven_billion_weights(peer: ModuleType) -> None:
    whole, attention = peer.operations(28, 64), 28 * 4 * 3584 * 64**2
    assert (whole - attention) / 2 / 64 == pytest.approx(6.525e9, rel=1e-3)


def test_float_products_are_another_graph_over_the_same_weights(
    peer: ModuleType, variant: Callable[[str], Path], tmp_path: Path
) -> None:
    import onnx

    source = variant("int4")
    before = (source / "backbone.onnx").read_bytes()
    peer._float_products(source, tmp_path / "level0")

    def levels(bundle: Path) -> set[int]:
        graph = onnx.load(bundle / "backbone.onnx", load_external_data=False).graph
        return {
            attribute.i for node in graph.node for attribute in node.attribute
            if attribute.name == "accuracy_level"
        }  # fmt: skip

    assert (levels(source), levels(tmp_path / "level0")) == ({4}, {0})
    assert (source / "backbone.onnx").read_bytes() == before


def test_a_start_ends_with_its_first_step_and_two_processes_share_what_is_mapped(
    variant: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    command = [
        sys.executable, BENCHMARKS / "second_start.py", variant("int4"), "--rounds", "1",
        "--threads", "1", "--ways", "onnx with --cache", "-o", out,
    ]  # fmt: skip
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert ended.returncode == 0, ended.stderr
    (own,) = json.loads(out.read_text())["ways"].values()
    assert own["seconds"] > own["open_s"] + own["load_s"] + own["first_step_s"] > 0
    assert len(own["starts"]) == 1 and len(own["together"]) == 2
    assert all(each["shared_out"] < each["resident"] for each in own["together"] if each)
    assert ended.stdout.count("\n") == 3  # a head and one way
