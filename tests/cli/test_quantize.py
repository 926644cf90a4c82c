"""`quantize` as a person calls it: what it says, what it refuses, and the gate."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration.report.divergence import Cost, Gate
from tests.calls import Invoke, answered, refused

RECIPE = ("--recipe", "int8-dynamic")


def test_what_was_done_and_what_it_cost(invoke: Invoke, tiny_bundle: Path, tmp_path: Path) -> None:
    found = answered(invoke("quantize", tiny_bundle, "-o", tmp_path / "out", *RECIPE, "--json"))
    assert found["bytes"] < found["parent_bytes"] and 0.0 <= found["divergence"] < 0.1
    assert 0.0 <= found["flips"] < 0.2
    assert found["layers"]["backbone/layers.0.mlp.up_proj.weight"]["bits"] == 8
    shown = invoke("inspect", tiny_bundle, "--diff", tmp_path / "out", "-v").stdout
    assert (
        "layers.backbone/layers.0.mlp.up_proj.weight: float -> 8 bits, per token, rtn, weight error"
        in shown
    )
    described = answered(invoke("inspect", tmp_path / "out", "--json"))
    assert described["components"]["text_head"]["layers"].keys() == {"weight"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--recipe", "int8-dynamc"), 2, "did you mean 'int8-dynamic'?"),
        ((), 2, "give --recipe NAME or --config FILE"),
        ((*RECIPE, "--config", "x.json"), 2, "not both"),
        ((*RECIPE, "--budget-mb", "3"), 2, "--budget-mb only goes with --recipe mixed"),
        ((*RECIPE, "--measure-on", "3"), 2, "--measure-on only goes with --recipe mixed"),
        (("--recipe", "mixed", "--max-kl", "1", "--measure-on", "0"), 2, "--measure-on"),
        (("--recipe", "mixed"), 2, "a budget in bytes, or a largest divergence or share of flips"),
        (("--recipe", "int4-awq"), 2, "give one with --calibration"),
        ((*RECIPE, "--calibration", "nowhere"), 3, "expected a calibration set"),
        (("--config", "nowhere.json"), 3, "nowhere.json"),
        ((*RECIPE, "--max-kl", "-1"), 2, "--max-kl"),
        ((*RECIPE, "--max-flips", "1.5"), 2, "--max-flips"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    invoke: Invoke,
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    refused(invoke("quantize", tiny_bundle, "-o", tmp_path / "out", *arguments), code, words)
    assert list(tmp_path.iterdir()) == []


def test_random_calibration_is_warned_of_and_marked(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path
) -> None:
    answered(
        invoke(
            "calibrate", tiny_bundle, "-o", tmp_path / "set", "--random", 1, "--bins", 4, "--json"
        )
    )
    others = [name for name in Bundle.open(tiny_bundle).manifest.components if name != "text_head"]
    (tmp_path / "config.json").write_text(json.dumps({"kind": "int8-static", "skip": others}))
    how = ("--config", tmp_path / "config.json", "--calibration", tmp_path / "set")
    result = invoke("quantize", tiny_bundle, "-o", tmp_path / "out", *how)
    assert (
        result.exit_code == 0
        and "warning: " in result.stderr
        and "calibrated on random numbers" in result.stderr
    )
    assert "calibrated on RANDOM numbers" in invoke("inspect", tmp_path / "out").stdout


def test_a_config_file_is_read(invoke: Invoke, tiny_bundle: Path, tmp_path: Path) -> None:
    others = [name for name in Bundle.open(tiny_bundle).manifest.components if name != "text_head"]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"kind": "int4", "block_size": 64, "skip": others}))
    found = answered(
        invoke("quantize", tiny_bundle, "-o", tmp_path / "out", "--config", config, "--json")
    )
    assert (
        found["layers"].keys() == {"text_head/weight"}
        and found["layers"]["text_head/weight"]["block_size"] == 64
    )
    config.write_text(json.dumps({"kind": "int4", "skipp": []}))
    refused(
        invoke("quantize", tiny_bundle, "-o", tmp_path / "no", "--config", config),
        3,
        "did you mean 'skip'?",
    )


def test_a_gate_that_is_not_met_keeps_nothing_unless_asked_to(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path
) -> None:
    gate = ("quantize", tiny_bundle, "-o", tmp_path / "out", *RECIPE, "--max-kl", "1e-9")
    refused(invoke(*gate), 4, "nats per draw, at most 1e-09 is allowed; nothing was kept")
    assert list(tmp_path.iterdir()) == []
    refused(invoke(*gate, "--keep"), 4, "was kept, as was asked")
    made = Bundle.open(tmp_path / "out").manifest.quantisation
    assert made is not None and made.gate["met"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert made.gate["max_flips"] is None and 0.0 <= float(str(made.gate["flips"])) < 1.0


def test_flips_have_a_gate_of_their_own() -> None:
    gate, cost = Gate(max_kl=0.1, max_flips=0.02), Cost(kl=0.05, flips=0.031)
    (missed,) = gate.missed(cost)
    assert missed == ("0.031 of the draws have another likeliest symbol, at most 0.02 are allowed")
    assert len(gate.missed(Cost(math.nan, math.nan))) == 2
    assert gate.missed(Cost(0.1, 0.02)) == [] and Gate().missed(cost) == []
    assert gate and not Gate()
