"""Commands called as a person calls them, in this process; test_process.py starts real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from PIL import Image

from nextomni_edge.cli import root

ROOT = Path(__file__).parents[2]
Invoke = Callable[..., Result]


@pytest.fixture
def invoke() -> Invoke:
    """Run a command line; `stdin` is what is piped in."""

    def call(*arguments: object, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            root, [str(argument) for argument in arguments], input=stdin, prog_name="nextomni-edge"
        )

    return call


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, an animation, a sound and a text."""
    folder = tmp_path_factory.mktemp("media")
    Image.new("RGB", (16, 16), "red").save(folder / "red.png")
    frames = [Image.new("L", (16, 16), level) for level in (0, 128, 255)]
    frames[0].save(folder / "blink.gif", save_all=True, append_images=frames[1:])
    soundfile.write(folder / "tone.wav", np.full(4000, 0.25, dtype=np.float32), 16000)
    soundfile.write(folder / "long.wav", np.full(16000, 0.25, dtype=np.float32), 16000)
    (folder / "cat.txt").write_text("a cat", encoding="utf-8")
    return folder


def refused(result: Result, code: int, *words: str) -> None:
    """One line on stderr, no traceback, nothing on stdout, the exit code."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


def answered(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 1
    found: dict[str, Any] = json.loads(lines[0])
    return found
