"""`run --stream`, and what is kept of a run that NaN stopped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import NonFiniteError
from tests.calls import Invoke, refused


def test_a_picture_is_shown_as_it_forms_and_ends_with_the_answer(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ("run", tiny_checkpoint, "--text", "draw a cat", "--to", "image", "--steps", 6)
    assert invoke(*arguments, "-o", tmp_path / "a.png").exit_code == 0
    assert invoke(*arguments, "--stream", "-o", tmp_path / "film.png").exit_code == 0
    with Image.open(tmp_path / "film.png") as film, Image.open(tmp_path / "a.png") as still:
        assert film.n_frames == 7  # type: ignore[attr-defined]  # the first two alike: nothing jumps at t = 0
        film.seek(0)
        first = np.asarray(film.convert("RGB"))
        film.seek(6)
        np.testing.assert_array_equal(
            np.asarray(film.convert("RGB")), np.asarray(still.convert("RGB"))
        )
        assert not np.array_equal(first, np.asarray(still.convert("RGB")))


def test_text_is_shown_on_stderr_whenever_it_changes(invoke: Invoke, tiny_checkpoint: Path) -> None:
    arguments = ("run", tiny_checkpoint, "--text", "a cat", "--steps", 20)
    plain, streamed = invoke(*arguments), invoke(*arguments, "--stream")
    assert streamed.stdout == plain.stdout and plain.stderr == ""
    lines = streamed.stderr.splitlines()
    assert len(lines) > 1 and lines[0].startswith("t=0.000  ")


def test_partial_text_is_an_event_with_json(invoke: Invoke, tiny_checkpoint: Path) -> None:
    result = invoke(
        "run",
        tiny_checkpoint,
        "--text",
        "a cat",
        "--steps",
        20,
        "--stream",
        "--json",
        "--progress",
        "none",
    )
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert {event["event"] for event in events} == {"partial"}
    times = [event["t"] for event in events]
    assert times == sorted(times) and len({event["text"] for event in events}) > 1
    assert json.loads(result.stdout)["modality"] == "text"


def test_streamed_text_goes_to_a_file_too(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for name, stream in (("a.txt", ()), ("b.txt", ("--stream",))):
        invoke("run", tiny_checkpoint, "--text", "a cat", *stream, "-o", tmp_path / name)
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--to", "audio", "-o", "a.wav"),
            ("--stream of a sound is for models that say a text; leave it out",),
        ),
        (("--to", "video", "-o", "a.gif"), ("but video is asked for",)),
        (("--to", "image", "-o", "a.jpg"), ("unknown suffix '.jpg'; expected one of .gif",)),
        (("--to", "image"), ("--to image needs a file",)),
    ],
)
def test_what_cannot_be_shown_is_refused(
    invoke: Invoke, tiny_checkpoint: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(invoke("run", tiny_checkpoint, "--text", "a", "--stream", *arguments), 2, *words)


def test_kept_keys_and_values_are_said_to_approximate(
    invoke: Invoke, tiny_checkpoint: Path
) -> None:
    plain = invoke("run", tiny_checkpoint, "--text", "a cat", "-v")
    assert (
        re.search(r"^\d+ forwards in \d steps$", plain.stderr, re.MULTILINE)
        and "approximate" not in plain.stderr
    )
    kept = invoke("run", tiny_checkpoint, "--text", "a cat", "--kv-cache", "prefix")
    assert re.match(
        r"kept keys and values approximate: \d+ of \d+ positions were not computed again\n$",
        kept.stderr,
    )


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head gives NaN in its fifth call."""
    head, calls = EdgeModel.head, []

    def spoil(self: EdgeModel, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise NonFiniteError("image_head: output logits is nan at batch 0, rows 1", (0, 1))
        return head(self, *arguments)

    monkeypatch.setattr(EdgeModel, "head", spoil)


@pytest.mark.usefixtures("spoiled")
def test_a_picture_that_nan_stopped_is_kept_beside_its_name(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out, trace = tmp_path / "a.png", tmp_path / "trace.safetensors"
    result = invoke(
        "run", tiny_checkpoint, "--text", "a cat", "--to", "image", "-o", out, "--save-trace", trace
    )
    assert result.exit_code == 4 and result.stdout == ""
    kept, error = result.stderr.splitlines()
    assert kept == f"what there was until then: {tmp_path / 'a.partial.png'}"
    found = re.fullmatch(
        r"error: step (\d) of 8: image_head: output logits is nan .* row 1 of what request 0"
        r" generates",
        error,
    )
    assert found, error
    assert (tmp_path / "a.partial.png").exists() and not out.exists()
    with safe_open(trace, "np") as file:
        steps = {name.split("/")[0] for name in file.keys()}  # noqa: SIM118
    assert steps == {f"step{step:04d}" for step in range(int(found[1]))}


@pytest.mark.usefixtures("spoiled")
def test_text_that_nan_stopped_is_said(invoke: Invoke, tiny_checkpoint: Path) -> None:
    result = invoke("run", tiny_checkpoint, "--text", "a cat", "--steps", 30)
    assert result.exit_code == 4 and result.stdout == ""
    assert result.stderr.startswith("what there was until then: ")
    assert "error: step " in result.stderr
