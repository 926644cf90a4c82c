"""`calibrate` as a person calls it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.calls import Invoke, answered, refused


def test_prompts_make_a_set_whose_counts_are_told(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path
) -> None:
    turn = '{"role": "user", "parts": [{"kind": "text", "value": "draw a cat"}]}'
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "prompts.jsonl").write_text(
        f'{{"task": "draw", "answer": "image", "turns": [{turn}]}}'
    )
    found = answered(
        invoke(
            "calibrate",
            tiny_bundle,
            "-o",
            tmp_path / "set",
            "--prompts",
            prompts,
            "--bins",
            4,
            "--json",
        )
    )
    assert found["trajectories"] == 1 and found["random"] is False
    assert found["counts"] == {"draw": {"conditional": [1] * 4, "unconditional": [1] * 4}}
    told = invoke(
        "calibrate",
        tiny_bundle,
        "-o",
        tmp_path / "again",
        "--prompts",
        prompts / "prompts.jsonl",
        "--bins",
        4,
    )
    assert (
        "draw                 conditional        1 samples in each of 4 bins" in told.stdout
        and told.stderr == ""
    )


def test_random_numbers_are_warned_of(invoke: Invoke, tiny_bundle: Path, tmp_path: Path) -> None:
    result = invoke("calibrate", tiny_bundle, "-o", tmp_path / "set", "--random", 1, "--bins", 4)
    assert (
        result.exit_code == 0
        and "warning: " in result.stderr
        and "holds random numbers" in result.stderr
    )


def test_mistakes_are_one_line_each(invoke: Invoke, tiny_bundle: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(
        invoke("calibrate", tiny_bundle, "-o", tmp_path / "set"),
        2,
        "give either --prompts FILE, or --random N",
    )
    refused(
        invoke("calibrate", tiny_bundle, "-o", tmp_path / "set", "--random", 1),
        2,
        "8 bins",
        "6 steps",
        "--bins 6",
    )
    refused(
        invoke("calibrate", tiny_bundle, "-o", tmp_path / "set", "--prompts", empty),
        3,
        "prompts.jsonl: no such file",
    )
    refused(
        invoke("calibrate", empty, "-o", tmp_path / "set", "--random", 1),
        3,
        "no manifest.json inside",
    )
    refused(
        invoke("calibrate", tiny_bundle, "-o", tmp_path, "--random", 1, "--bins", 4),
        2,
        "exists; choose another name",
    )
    refused(
        invoke("calibrate", tiny_bundle, "-o", tmp_path / "set", "--random", 1, "--bins", 65),
        2,
        "bins 65",
    )


@pytest.mark.parametrize("command", [("calibrate", "b", "--random", "1"), ("report", "a", "b")])
def test_without_the_library_the_extra_is_named(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(
        invoke(*command, "-o", tmp_path / "out"),
        5,
        "onnx_ir is not installed",
        "pip install 'nextomni-edge[quantize]'",
    )
