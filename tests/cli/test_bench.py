"""`bench` over the torch reference of the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextomni_edge.cli.verbs.bench import changed
from nextomni_edge.generate.options import GenerationOptions
from tests.calls import Invoke, answered, refused


def test_a_baseline_runs_in_turn_and_is_compared(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    found = answered(
        invoke(
            "bench",
            tiny_checkpoint,
            "--baseline",
            "--repeats",
            2,
            "--steps",
            4,
            "--trace",
            trace,
            "--json",
        ),
    )
    ours, plain = found["configurations"]
    assert found["against"] == plain["name"] == f"{tiny_checkpoint} [plain]"
    assert ours["counts"]["forwards"] == 3 and plain["counts"]["forwards"] == 4
    assert found["compared"][0]["equal_tokens"] == 1.0
    assert len(ours["runs"]) == 2 and len(ours["runs"][0]["steps"]) == 4
    assert ours["load_seconds"] > 0 and ours["step_seconds"]["backbone"] > 0
    assert {event["pid"] for event in json.loads(trace.read_text())["traceEvents"]} == {1, 2}


def test_settings_of_the_baseline(invoke: Invoke, tiny_checkpoint: Path) -> None:
    arguments = (
        "bench",
        tiny_checkpoint,
        "--task",
        "image-to-text",
        "--repeats",
        1,
        "--steps",
        3,
        "--json",
    )
    found = answered(
        invoke(*arguments, "--kv-cache", "prefix", "--baseline", "kv_cache=none,steps=5")
    )
    ours, theirs = (each["options"] for each in found["configurations"])
    assert (ours["kv_cache"], ours["steps"], theirs["kv_cache"], theirs["steps"]) == (
        "prefix",
        3,
        "none",
        5,
    )


def test_the_table_has_a_column_for_each(invoke: Invoke, tiny_checkpoint: Path) -> None:
    result = invoke(
        "bench",
        tiny_checkpoint,
        tiny_checkpoint,
        "--repeats",
        1,
        "--steps",
        2,
        "--task",
        "text-to-audio",
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == [str(tiny_checkpoint)] * 2
    assert any(
        line.startswith("same tokens as the last") and line.split()[-2:] == ["100.0%", "100.0%"]
        for line in lines
    )


@pytest.mark.parametrize("task", ["text-to-video", "two-turn"])
def test_a_length_may_be_asked_for(invoke: Invoke, tiny_checkpoint: Path, task: str) -> None:
    length = ("--frames", 3) if task == "text-to-video" else ("--seconds", 0.2)
    short, long = (
        answered(
            invoke(
                "bench",
                tiny_checkpoint,
                "--task",
                task,
                "--repeats",
                1,
                "--steps",
                2,
                "--json",
                *given,
            )
        )
        for given in ((), length)
    )
    assert (
        short["configurations"][0]["counts"]["rows"] != long["configurations"][0]["counts"]["rows"]
    )


def test_values_have_the_type_of_their_option() -> None:
    options = GenerationOptions(steps=4, grid=(0.0, 0.2, 0.4, 0.8, 1.0))
    found = changed(
        options, "plain,steps=8,guidance=2,stepper=corrected,max_blocks=3,batch_guidance=off"
    )
    shortcuts = found.shortcuts
    assert not shortcuts.reuse_logits and not shortcuts.batch_guidance and found.guidance == 2.0
    assert (found.steps, found.stepper, found.max_blocks, found.grid) == (8, "corrected", 3, ())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--baseline", "stps=3"), ("'stps=3' is no setting", "did you mean 'steps'?")),
        (("--baseline", "steps=many"), ("steps is 'many', expected a number",)),
        (("--baseline", "reuse_logits=no"), ("reuse_logits is 'no', expected on or off",)),
        (("--baseline", "steps=0"), ("steps is 0, expected at least 1",)),
        (("--task", "text-to-smell"), ("expected one of text-to-image,",)),
        (
            ("--kv-cache", "all"),
            ("expected one of none, prefix, adaptive, revised, blocks, dual, logits",),
        ),
        (("--grid", "0,half,1"), ("expected times with commas between them",)),
        (("--grid", "0,0.7,0.2,1"), ("grid does not rise",)),
        (("--trace", "/nowhere/trace.json"), ("the folder /nowhere does not exist",)),
        (("--frames", 2), ("--frames is for video, but image is asked for",)),
    ],
)
def test_what_cannot_be_meant_is_refused(
    invoke: Invoke, tiny_checkpoint: Path, arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    refused(invoke("bench", tiny_checkpoint, "--repeats", 1, *arguments), 2, *words)
