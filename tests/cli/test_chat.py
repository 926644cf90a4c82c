"""A conversation from a pipe: turns remembered, modalities changed on the way, files saved,
mistakes told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from nextomni_edge.media.image import read_image
from nextomni_edge.media.video import read_video
from tests.calls import Invoke, refused
from tests.sources import ROOT


def test_turns_of_every_modality(
    invoke: Invoke, tiny_checkpoint: Path, media: Path, tmp_path: Path
) -> None:
    script = f"""what is this?
/image {media / "red.png"}
/audio {media / "tone.wav"}
and this?
/to image
draw it
/save {tmp_path / "drawn.png"}
/to video
spinning
/save {tmp_path / "spun.gif"}
/quit
never said
"""
    result = invoke("chat", tiny_checkpoint, "--json", "--frames", "2", stdin=script)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line.get("modality", "saved") for line in lines] == [
        "text",
        "text",
        "image",
        "saved",
        "video",
        "saved",
    ]
    assert (
        lines[2]["answer"] == "[picture, 16x16]"
        and lines[4]["answer"] == "[video, 16x16, 2 frames]"
    )
    assert read_image(tmp_path / "drawn.png", 16).shape == (3, 16, 16)
    assert read_video(tmp_path / "spun.gif", 16, 8).shape == (2, 3, 16, 16)


def test_what_was_said_before_matters_until_reset(invoke: Invoke, tiny_checkpoint: Path) -> None:
    script = "draw a red rocket\n/to audio\nsay it\n/reset\nsay it\n/reset\nsay it\n"
    options = ("--json", "--seconds", "0.2", "--temperature", "0")
    result = invoke("chat", tiny_checkpoint, *options, stdin=script)
    assert result.exit_code == 0 and [
        json.loads(line)["modality"] for line in result.stdout.splitlines()
    ] == [
        "text",
        *["audio"] * 3,
    ]


def test_the_end_of_input_ends_the_chat(invoke: Invoke, tiny_checkpoint: Path) -> None:
    result = invoke("chat", tiny_checkpoint, stdin="\n\n")
    assert result.exit_code == 0 and result.stdout == ""


def test_the_first_mistake_in_a_pipe_ends_it_with_its_code(
    invoke: Invoke, tiny_checkpoint: Path
) -> None:
    cases = [
        ("/image none.png\n", 3, "none.png: no such file"),
        ("/image\n", 2, "/image needs a file"),
        ("/to smell\n", 2, "/to smell: expected one of text, image, audio, video"),
        ("/save a.png\n", 2, "nothing to save yet"),
        ("/dance\n", 2, "no command /dance; expected one of /image, /audio"),
    ]
    for script, code, line in cases:
        refused(invoke("chat", tiny_checkpoint, stdin=script + "never said\n"), code, line)


def test_help_lists_the_commands_on_stderr(invoke: Invoke, tiny_checkpoint: Path) -> None:
    result = invoke("chat", tiny_checkpoint, stdin="/help\n")
    assert result.exit_code == 0 and result.stdout == "" and "/save FILE" in result.stderr


def test_an_interrupt_that_was_caught_does_not_decide_the_exit_code() -> None:
    script = """
import builtins
from types import SimpleNamespace
from nextomni_edge.cli.console import Console
from nextomni_edge.cli.verbs.chat import attempt
builtins.input = lambda prompt: "draw"
stopped = SimpleNamespace(prompt="", line=lambda line: exec("raise KeyboardInterrupt"))
assert attempt(Console(), stopped)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0 and "the conversation is as it was" in ended.stderr, ended.stderr
