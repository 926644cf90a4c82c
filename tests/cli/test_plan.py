"""`bench --plan`: of a known shape, a config, a bundle; what cannot be meant is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextomni_edge.cli.verbs.plan import DEVICES
from nextomni_edge.measure import DEVICES as KNOWN
from nextomni_edge.measure import probe
from tests.calls import Invoke, answered, refused


@pytest.fixture(autouse=True)
def small_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"SIDE": 128, "ROWS": 16, "SWEEP": 2**16, "REPEATS": 2}.items():
        monkeypatch.setattr(probe, name, size)


def test_every_device_is_offered() -> None:
    assert set(DEVICES) == {*KNOWN, "cpu"}


def test_the_papers_shape_on_a_small_board(invoke: Invoke) -> None:
    arguments = ("bench", "--plan", "nextomni-7b", "--device", "orin-nano-8gb", "--json")
    found = {
        precision: answered(invoke(*arguments, "--precision", precision))["plans"][0]
        for precision in ("float16", "int4")
    }
    assert found["int4"]["fits"] and not found["float16"]["fits"]
    assert found["int4"]["step"] == {
        "modality": "image",
        "given": 32,
        "generated": 576,
        "branches": 1,
    }
    assert found["int4"]["steps_per_second_at_most"] == pytest.approx(
        17e12 / found["int4"]["operations"]
    )


def test_a_bundle_on_this_processor_with_its_formula(invoke: Invoke, tiny_bundle: Path) -> None:
    result = invoke("bench", "--plan", tiny_bundle, "--task", "image-to-text", "--given", 9)
    assert result.exit_code == 0, result.output
    assert "seconds per step ≥ max(weights read / bandwidth, operations / rate)" in result.stdout
    assert (
        "step: 9 + 4 positions of text, 1 branch" in result.stdout and "at float32" in result.stdout
    )


def test_a_config_file_and_guidance(invoke: Invoke, tiny_checkpoint: Path) -> None:
    for model in (tiny_checkpoint, tiny_checkpoint / "config.json"):
        found = answered(
            invoke("bench", "--plan", model, "--precision", "int8", "--device", "iphone", "--json")
        )["plans"][0]
        assert found["precision"] == "int8" and found["step"]["branches"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--plan", "nextomni-7"), ("config 'nextomni-7'", "did you mean 'nextomni-7b'?")),
        (("--plan", "nextomni-7b", "--task", "text-to-smell"), ("expected one of text-to-image,",)),
        (("nextomni-7b", "--device", "iphone"), ("--device is of a plan; add --plan",)),
        (("nextomni-7b", "--given", 0), ("--given is of a plan; add --plan",)),
    ],
)
def test_what_cannot_be_meant_is_refused(
    invoke: Invoke, arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    refused(invoke("bench", *arguments), 2, *words)


def test_a_bundle_has_its_own_precision(invoke: Invoke, tiny_bundle: Path) -> None:
    refused(
        invoke("bench", "--plan", tiny_bundle, "--precision", "int4"),
        2,
        "is a bundle and has its own",
    )


def test_ones_own_sizes_in_a_file_of_any_name(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    sizes = json.loads((tiny_checkpoint / "config.json").read_text())
    sizes["backbone"] |= {"hidden_size": 96, "mlp_size": 192, "layers": 5}
    (tmp_path / "mine.json").write_text(json.dumps(sizes))
    given = ("--device", "iphone", "--json")
    own, tiny = (
        answered(invoke("bench", "--plan", model, *given))["plans"][0]
        for model in (tmp_path / "mine.json", tiny_checkpoint)
    )
    assert own["operations"] > 4 * tiny["operations"] and own["stored"] > tiny["stored"]


def test_a_file_that_is_no_config_of_ours_is_told_by_its_name(
    invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "published.json").write_text('{"hidden_size": 896}')
    refused(
        invoke("bench", "--plan", tmp_path / "published.json"),
        3,
        f"{tmp_path / 'published.json'}: ",
        "unknown key 'hidden_size'",
        "expected the config.json of a model directory",
    )
    refused(invoke("bench", "--plan", tmp_path / "none.json"), 3, "none.json: no such file")
