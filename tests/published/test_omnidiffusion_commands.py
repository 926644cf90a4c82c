"""Every task of Omni-Diffusion on the command line, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.calls import Invoke, refused
from tests.published.goldens import FOLDER, arrays
from tests.published.models import imported

SOUND = FOLDER / "omnidiffusion" / "sv_B.flac"  # of two channels at 44.1 kHz
SHORT = ("--length", 60, "--steps", 12, "--progress", "none")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "given.png"
    Image.fromarray(arrays("omnidiffusion")["mv.I1.uint8"]).save(path)
    return path


def run(invoke: Invoke, *given: object) -> str:
    result = invoke("run", imported("omnidiffusion"), *given)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


@pytest.mark.parametrize(
    "asked", [("--text", "a red house"), ("--text", "a red house", "--guidance", 2),
              ("--audio", SOUND), ("--audio", SOUND, "--guidance", 0)],
)  # fmt: skip
def test_a_text_or_a_sound_becomes_a_picture(
    invoke: Invoke, tmp_path: Path, asked: tuple[object, ...]
) -> None:
    """A sound's picture has guidance where none is asked for, a text's has none."""
    out = tmp_path / "house.png"
    run(invoke, *asked, "--to", "image", *SHORT, "-o", out)
    assert Image.open(out).size == (64, 64)


def test_a_text_becomes_a_sound(invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    run(invoke, "--text", "Good morning.", "--to", "audio", *SHORT, "-o", out)
    samples, rate = soundfile.read(out)
    assert rate == 22_050
    assert len(samples) % 256 == 0
    assert 0.0 < np.abs(samples).max() <= 1.0


def test_a_sound_becomes_a_text(invoke: Invoke) -> None:
    assert run(invoke, "--audio", SOUND, *SHORT).strip()


def test_a_spoken_question_about_a_picture_is_answered(
    invoke: Invoke, tmp_path: Path, picture: Path
) -> None:
    out = tmp_path / "answer.wav"
    run(invoke, "--audio", SOUND, "--image", picture, "--to", "audio", *SHORT, "-o", out)
    assert soundfile.info(out).samplerate == 22_050
    told = json.loads(run(invoke, "--text", "what is it?", "--image", picture, *SHORT, "--json"))
    assert told["text"].strip()


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--text", "hi", "--to", "image", "--size", "32x32", "-o", "a.png"), 2,
         "this model draws 64 x 64"),
        (("--text", "hi", "--guidance", 1), 2, "compares pictures only"),
        (("--text", "hi", "--repeat-penalty", "0.5"), 2, "expected a finite number from 1"),
        (("--text", "hi", "--to", "video", "-o", "a.gif"), 2, "this model answers in text or"),
        (("--text", "hi", "--to", "audio", "--length", 1, "--steps", 1, "-o", "a.wav"), 3,
         "the answer holds no code of a sound"),
        (("--text", "hi", "--repeat-penalty", 2, "--stepper", "jump"), 2,
         "repeat_penalty is for the stepper commit"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_one_sentence(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...], code: int, sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    refused(invoke("run", imported("omnidiffusion"), *options), code, sentence)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", ["omnidiffusion", "mmada"])
def test_what_a_model_sees_has_an_embedding(invoke: Invoke, picture: Path, family: str) -> None:
    items = [picture, *([SOUND] if family == "omnidiffusion" else [])]
    result = invoke("embed", imported(family), "--text", "a red house", *items, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["items"]
    assert len(rows) == 1 + len(items)


def test_a_clip_that_is_too_short_is_named(invoke: Invoke, tmp_path: Path) -> None:
    clip = tmp_path / "click.wav"
    soundfile.write(clip, np.zeros(200), 16_000)
    refused(
        invoke("run", imported("omnidiffusion"), "--audio", clip), 3,
        "expected one channel of at least 400 finite samples at 16000 Hz",
    )  # fmt: skip
