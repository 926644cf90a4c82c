"""`run`, `chat` and `embed` over the torch reference of the tiny model: every modality in and out,
and every mistake in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from nextomni_edge.media.audio import read_audio
from nextomni_edge.media.image import read_image
from nextomni_edge.media.video import read_video
from nextomni_edge.tokens.chat import Part
from tests.calls import Invoke, answered, refused
from tests.tiny import causal_config, tiny_config, tiny_model

CONFIG = tiny_config()


@pytest.mark.parametrize(
    "prompt",
    [
        ("--text", "a cat"),
        ("--image", "red.png"),
        ("--audio", "tone.wav"),
        ("--video", "blink.gif"),
        ("--video", "red.webp"),
    ],
)
def test_any_modality_is_answered_in_text(
    invoke: Invoke,
    tiny_checkpoint: Path,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    prompt: tuple[str, str],
) -> None:
    monkeypatch.chdir(media)
    Image.open("blink.gif").save("red.webp", save_all=True)
    found = answered(invoke("run", tiny_checkpoint, *prompt, "--json"))
    assert found["modality"] == "text" and isinstance(found["text"], str) and found["file"] is None
    assert invoke("run", tiny_checkpoint, *prompt).stdout.strip() == found["text"].strip()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_a_picture_is_written(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"a{suffix}"
    result = invoke("run", tiny_checkpoint, "--text", "draw a cat", "--to", "image", "-o", out)
    assert result.exit_code == 0 and result.stdout == f"{out}\n"
    assert read_image(out, 16).shape == (3, 16, 16)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_sound_is_written_as_long_as_asked(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"a{suffix}"
    found = answered(
        invoke(
            "run",
            tiny_checkpoint,
            "--text",
            "say a cat",
            "--to",
            "audio",
            "--seconds",
            "0.2",
            "-o",
            out,
            "--json",
        )
    )
    assert found["file"] == str(out) and len(read_audio(out, CONFIG.audio)) == 3 * 1280


@pytest.mark.parametrize("suffix", [".gif", ".mp4", ".webp"])
def test_a_video_is_written_with_the_frames_asked_for(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"a{suffix}"
    answered(
        invoke(
            "run",
            tiny_checkpoint,
            "--text",
            "spinning",
            "--to",
            "video",
            "--frames",
            "3",
            "-o",
            out,
            "--json",
        )
    )
    assert read_video(out, 16, 8).shape == (3, 3, 16, 16)


def test_text_goes_to_a_file_where_one_is_named(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    text = answered(
        invoke("run", tiny_checkpoint, "--text", "a", "-o", tmp_path / "a.txt", "--json")
    )["text"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == text + "\n"


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        invoke(
            "run",
            tiny_checkpoint,
            "--text",
            "a cat",
            "--to",
            "image",
            "--seed",
            seed,
            "-o",
            tmp_path / f"{name}.png",
        )
    one, same, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert one == same != other


def test_parts_reach_the_model_in_the_order_of_the_command_line(
    invoke: Invoke, tiny_checkpoint: Path, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Part] = []

    def stop(console: Any, model: Any, parts: tuple[Part, ...], *_: Any) -> None:
        seen.extend(parts)
        raise KeyboardInterrupt

    monkeypatch.setattr("nextomni_edge.cli.verbs.run.answer_and_write", stop)
    picture, sound = media / "red.png", media / "tone.wav"
    command = [
        "--text",
        "first",
        "--image",
        picture,
        "--json",
        "--audio",
        sound,
        "--text",
        "last",
        "--image",
        picture,
        "--steps",
        2,
    ]
    assert invoke("run", tiny_checkpoint, *command).exit_code == 130
    assert [part.kind for part in seen] == ["text", "image", "audio", "text", "image"]
    assert [part.value for part in seen if part.kind == "text"] == ["first", "last"]


def test_text_may_come_from_standard_input(invoke: Invoke, tiny_checkpoint: Path) -> None:
    typed = answered(invoke("run", tiny_checkpoint, "--text", "a cat", "--json"))["text"]
    assert (
        answered(invoke("run", tiny_checkpoint, "--text", "-", "--json", stdin="a cat\n"))["text"]
        == typed
    )


def test_a_saved_trace_holds_every_step(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.safetensors"
    command = [
        "--text",
        "a",
        "--to",
        "image",
        "--steps",
        "5",
        "-o",
        tmp_path / "a.png",
        "--save-trace",
        trace,
    ]
    assert invoke("run", tiny_checkpoint, *command).exit_code == 0
    tensors = load_file(trace)
    with safe_open(trace, "numpy") as file:
        steps = json.loads(file.metadata()["steps"])
    assert [step["t"] for step in steps] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    for step in steps:
        assert tensors[f"step{step['step']:04d}/segment0/x_t"].shape == (4, 3)
    assert tensors["step0004/segment0/x_1"].dtype == np.int64 and steps[4]["margin"] > 0
    # nothing is predicted at t = 0
    assert "step0000/segment0/x_1" not in tensors and steps[0]["margin"] is None


def test_progress_as_json_is_one_object_a_line(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    command = [
        "--text",
        "a",
        "--to",
        "image",
        "--steps",
        "4",
        "-o",
        tmp_path / "a.png",
        "--progress",
        "json",
        "--json",
    ]
    result = invoke("run", tiny_checkpoint, *command)
    answered(result)
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert [line["done"] for line in lines] == [1, 2, 3, 4]
    assert all(
        line["event"] == "progress" and line["total"] == 4 and line["seconds"] >= 0
        for line in lines
    )


def test_progress_none_and_quiet_say_nothing(invoke: Invoke, tiny_checkpoint: Path) -> None:
    for options in (("--progress", "none"), ("-q",), ()):
        assert invoke("run", tiny_checkpoint, "--text", "a", *options).stderr == ""
    assert (
        "image in"
        not in invoke("run", tiny_checkpoint, "--text", "a", "--progress", "plain").stderr
    )
    assert (
        "text in 6 steps: "
        in invoke("run", tiny_checkpoint, "--text", "a", "--progress", "plain").stderr
    )


def test_a_text_in_two_parts_is_watched_as_one(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """6 steps for the first 3 tokens, 6 for what grows behind it, as long as this untrained model
    sees no end."""
    trace = tmp_path / "trace.safetensors"
    command = [
        "--text",
        "a",
        "--lead-tokens",
        3,
        "--max-blocks",
        3,
        "--eos-threshold",
        0.99,
        "--progress",
        "json",
    ]
    result = invoke("run", tiny_checkpoint, *command, "--save-trace", trace)
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert {line["total"] for line in lines} == {12} and lines[-1]["done"] > 6
    tensors = load_file(trace)
    assert tensors["step0000/segment0/x_t"].shape == (3,) and tensors[
        "step0006/segment0/x_t"
    ].shape == (12,)


MISTAKES: list[tuple[list[str], int, str]] = [
    ([], 2, "nothing to answer: give --text, --image, --audio or --video"),
    (["--text", "  "], 2, "--text is empty"),
    (["--text", "a", "--to", "image"], 2, "--to image needs a file: give -o FILE"),
    (
        ["--text", "a", "--to", "image", "-o", "out.wav"],
        2,
        "out.wav: unknown suffix '.wav'; expected one of .png",
    ),
    (
        ["--text", "a", "--to", "audio", "-o", "out"],
        2,
        "out: unknown suffix ''; expected one of .wav, .flac, .ogg",
    ),
    (["--text", "a", "--to", "image", "-o", "none/out.png"], 2, "the folder none does not exist"),
    (["--text", "a", "-o", "."], 2, "is a folder; name a file"),
    (["--image", "none.png"], 3, "none.png: no such file"),
    (
        ["--image", "tone.wav"],
        3,
        "tone.wav: not a picture that Pillow decodes; it looks like a sound: give it as --audio",
    ),
    (["--audio", "red.png"], 3, "red.png: not a sound"),
    (["--video", "red.png"], 3, "red.png: a still picture, expected a video; give it as --image"),
    (["--video", "tone.wav"], 3, "tone.wav: not a video"),
    (["--image", "."], 3, ".: a folder, expected a regular file"),
    (["--text", "a", "--steps", "0"], 2, "'0' is no whole number from 1 to 65536"),
    (["--text", "a", "--temperature", "-1"], 2, "'-1' is no number from 0 to 1e+06"),
    (["--text", "a", "--top-p", "2"], 2, "'2' is no number from 0 to 1"),
    (["--text", "a", "--stepper", "leap"], 2, "stepper is 'leap', expected one of euler"),
    (["--text", "a", "--frames", "2"], 2, "--frames is for video, but text is asked for"),
    (["--text", "a", "--seconds", "1"], 2, "--seconds is for audio, but text is asked for"),
    (
        ["--text", "a", "--to", "video", "--frames", "99", "-o", "a.gif"],
        2,
        "video response of 99: the model takes 1 to 4",
    ),
    (["--text", "a", "--max-blocks", "99"], 2, "max_blocks is 99, the model takes at most 3"),
    (
        ["--text", "a", "--lead-tokens", "8", "--max-blocks", "2"],
        2,
        "lead_tokens is 8, max_blocks 2 allows no more than 8 in all",
    ),
    (
        ["--text", "a", "--to", "image", "--lead-tokens", "1", "-o", "a.png"],
        2,
        "lead_tokens is for text, but image is generated",
    ),
    (["--text", "word " * 600], 2, "the model takes 512; shorten it"),
    (["--text", "a", "--runtime", "onnx"], 2, "is a model directory, which only torch runs"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "line"), MISTAKES, ids=[line[:40] for _, _, line in MISTAKES]
)
def test_a_mistake_is_one_clear_line(
    invoke: Invoke,
    tiny_checkpoint: Path,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    line: str,
) -> None:
    monkeypatch.chdir(media)
    before = sorted(media.iterdir())
    refused(invoke("run", tiny_checkpoint, *arguments), code, line)
    assert sorted(media.iterdir()) == before


def test_a_sound_that_no_prompt_has_room_for_is_refused(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "endless.wav", np.full(42 * 16000, 0.25, np.float32), 16000)
    refused(
        invoke("run", tiny_checkpoint, "--audio", tmp_path / "endless.wav"),
        3,
        "endless.wav: longer than the model's 40.96 s; --trim keeps the beginning",
    )


def test_a_long_sound_is_heard_whole_or_by_its_beginning(
    invoke: Invoke, tiny_checkpoint: Path, media: Path
) -> None:
    assert invoke("run", tiny_checkpoint, "--audio", media / "long.wav").exit_code == 0
    assert invoke("run", tiny_checkpoint, "--audio", media / "long.wav", "--trim").exit_code == 0


def test_a_folder_that_is_no_model_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    refused(
        invoke("run", tmp_path, "--text", "a"),
        3,
        "neither a bundle (manifest.json) nor a model directory (config.json)",
    )


def test_an_answer_that_fails_to_be_written_leaves_the_old_file(
    invoke: Invoke, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.png"
    out.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nextomni_edge.files.os.fsync", full)
    refused(
        invoke("run", tiny_checkpoint, "--text", "a", "--to", "image", "-o", out),
        2,
        "cannot be written (No space left on device)",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and out.read_bytes() == b"old"


def test_an_autoregressive_model_answers_in_text_and_has_no_settings_of_a_flow(
    invoke: Invoke, tmp_path: Path
) -> None:
    model = tiny_model(tmp_path / "causal", causal_config())
    assert isinstance(answered(invoke("run", model, "--text", "a cat", "--json"))["text"], str)
    refused(
        invoke("run", model, "--text", "a cat", "--steps", "4"),
        2,
        "steps: this model is autoregressive",
    )
    out = ("--to", "image", "-o", tmp_path / "a.png")
    refused(
        invoke("run", model, "--text", "a cat", *out), 2, "an autoregressive model answers in text"
    )
