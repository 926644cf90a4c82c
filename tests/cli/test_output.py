"""`run -o`: the suffix tells the modality, no format goes under another's name, and what an answer
is piped as."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from nextomni_edge.cli.generation import EMPTY
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.tokens.chat import Part
from tests.calls import Invoke, answered, refused

ASKED = ("--text", "a cat", "--steps", 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nn.png", "image"), ("nn.jpg", "image"), ("nn.wav", "audio"), ("nn.mp3", "audio"),
        ("nn.mp4", "video"), ("nn.webm", "video"), ("nn.mov", "video"), ("nn.txt", "text"),
        ("nn", "text"),
    ],
)  # fmt: skip
def test_the_suffix_of_the_file_tells_what_to_answer(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path, name: str, kind: str
) -> None:
    found = answered(invoke("run", tiny_checkpoint, *ASKED, "-o", tmp_path / name, "--json"))
    assert found["modality"] == kind and (tmp_path / name).stat().st_size > 0


def test_a_film_is_of_a_picture_where_nothing_else_is_said(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "film.gif"
    found = answered(invoke("run", tiny_checkpoint, *ASKED, "--stream", "-o", out, "--json"))
    assert found["modality"] == "image" and out.is_file()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--to", "text", "-o", "nn.png"),
            "nn.png: a .png file holds a picture, but",
        ),
        (("--to", "text", "-o", "nn.wav"), "nn.wav: a .wav file holds a sound, but"),
        (("--to", "image", "-o", "nn.wav"), "nn.wav: unknown suffix '.wav'; expected one of .png"),
        (("--to", "audio", "-o", "nn.txt"), "nn.txt: unknown suffix '.txt'; expected one of .wav"),
        (("-o", "nn.gif"), "a .gif file holds a picture or a video; say which with --to image"),
        (("-o", "nn.pdf"), "nn.pdf: unknown suffix '.pdf'; expected one of .txt, .md, .png"),
        (("-o", "nn.txt", "--scale", 2), "--scale is for pictures and videos, but text is asked"),
        (("-o", "-", "--json"), "-o - and --json both write to standard output; leave one out"),
        (("--to", "image", "-o", "-", "--stream"), "--stream writes a film: name a file"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    invoke: Invoke,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("run", "no-such-bundle", *ASKED, *arguments)
    if "--json" in arguments:
        assert result.exit_code == 2 and line in json.loads(result.stdout)["error"]["message"]
    else:
        refused(result, 2, line)
    assert list(tmp_path.iterdir()) == []


def test_answers_are_piped_as_text_png_wav_and_gif(invoke: Invoke, tiny_checkpoint: Path) -> None:
    def piped(*arguments: object) -> bytes:
        result = invoke("run", tiny_checkpoint, *ASKED, *arguments, "-o", "-")
        assert result.exit_code == 0, result.output
        return result.stdout_bytes

    text = answered(invoke("run", tiny_checkpoint, *ASKED, "--json"))["text"]
    assert piped() == f"{text}\n".encode()
    picture = Image.open(io.BytesIO(piped("--to", "image", "--scale", 3)))
    assert picture.format == "PNG" and picture.size == (48, 48)
    samples, rate = soundfile.read(io.BytesIO(piped("--to", "audio", "--seconds", 0.2)))
    assert rate == 16000 and len(samples) == 3 * 1280
    video = Image.open(io.BytesIO(piped("--to", "video", "--frames", 2)))
    assert video.format == "GIF" and video.size == (16, 16)


def test_scaling_repeats_pixels(invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path) -> None:
    for name, scale in (("a.png", 1), ("b.png", 4)):
        invoke("run", tiny_checkpoint, *ASKED, "-o", tmp_path / name, "--scale", scale)
    small, large = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    np.testing.assert_array_equal(large, small.repeat(4, axis=0).repeat(4, axis=1))


def test_a_length_in_seconds_is_refused_in_seconds(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = ("-o", tmp_path / "a.wav")
    refused(
        invoke("run", tiny_checkpoint, "--text", "a", *out, "--seconds", 100),
        2,
        "100 seconds of sound: the model makes up to 0.32 s; ask for over 0 and at most 0.32",
    )
    for wrong in ("0", "-1", "nan", "inf"):
        refused(
            invoke("run", tiny_checkpoint, "--text", "a", *out, "--seconds", wrong),
            2,
            "no number above 0 and at most 86400 seconds",
        )


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model ends every text at once."""
    response = EdgeModel.response

    def ended(self: EdgeModel, *arguments: Any) -> Part:
        found = response(self, *arguments)
        return Part("text", "") if found.kind == "text" else found

    monkeypatch.setattr(EdgeModel, "response", ended)


@pytest.mark.usefixtures("silent")
def test_an_empty_answer_says_so_and_prints_no_blank_line(
    invoke: Invoke, tiny_checkpoint: Path
) -> None:
    ran = invoke("run", tiny_checkpoint, "--text", "zzz")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", f"{EMPTY}\n")
    talked = invoke("chat", tiny_checkpoint, stdin="zzz\n")
    assert (talked.exit_code, talked.stdout, talked.stderr) == (0, "", f"{EMPTY}\n")
    as_json = invoke("run", tiny_checkpoint, "--text", "zzz", "--json")
    assert json.loads(as_json.stdout)["text"] == "" and as_json.stderr == f"{EMPTY}\n"
