"""Masked models on the command line: text and pictures as they are unmasked, a chat, the caches, a
plan of their cost, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nextomni_edge
from tests.calls import Invoke, answered, refused
from tests.published.models import imported

SHORT = ("--length", 16, "--block", 8, "--steps", 8)
PICTURE = ("--to", "image", "--size", "64x32")


def test_text_is_shown_as_it_is_unmasked(invoke: Invoke) -> None:
    result = invoke(
        "run", imported("llada"), "--text", "hello", *SHORT, "--stream", "--json", "--progress",
        "none",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stderr.splitlines()]
    shown = [event for event in events if "text" in event]
    assert shown
    assert json.loads(result.stdout)["text"] == shown[-1]["text"]


@pytest.mark.parametrize(("family", "size"), [("mmada", (64, 64)), ("lumina_dimoo", (64, 32))])
def test_a_picture_is_shown_as_it_is_unmasked(
    invoke: Invoke, tmp_path: Path, family: str, size: tuple[int, int]
) -> None:
    out, asked = tmp_path / "film.gif", f"{size[0]}x{size[1]}"
    result = invoke(
        "run", imported(family), "--text", "a house", "--to", "image", "--size", asked,
        "--steps", 4, "--stream", "-o", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    film = Image.open(out)
    frames = []
    for index in range(getattr(film, "n_frames", 1)):
        film.seek(index)
        frames.append(np.asarray(film.convert("RGB")).copy())
    assert frames[0].shape == (size[1], size[0], 3)
    assert len({frame.tobytes() for frame in frames}) > 2


def test_a_chat_of_two_turns(invoke: Invoke) -> None:
    result = invoke("chat", imported("llada"), *SHORT, stdin="hello\nand again\n")
    assert result.exit_code == 0, result.output


def test_what_the_logits_cache_leaves_out_is_said(invoke: Invoke, tmp_path: Path) -> None:
    """By default Lumina-DiMOO's own settings: a tenth of the positions between whole steps."""
    model, out = imported("lumina_dimoo"), tmp_path / "house.png"
    common = ("run", model, "--text", "a house", *PICTURE, "--steps", 10, "--kv-cache", "logits")
    said = []
    for warmup in ("0.2", "0.9"):
        result = invoke(*common, "--cache-warmup", warmup, "-o", tmp_path / f"{warmup}.png")
        assert result.exit_code == 0, result.output
        assert "kept keys and values approximate" in result.stderr
        said.append(int(result.stderr.partition("approximate: ")[2].split()[0].replace(",", "")))
    assert said[0] > said[1] >= 0
    refused(
        invoke("run", model, "--text", "a", *PICTURE, "--cache-warmup", "0.2", "-o", out), 2,
        "cache_warmup is for kv_cache 'logits': name it, or leave cache_warmup out",
    )  # fmt: skip
    refused(
        invoke("run", imported("dream"), "--text", "a", "--kv-cache", "logits"), 2,
        "is for models that see all rows, unshifted",
    )  # fmt: skip


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_a_threshold_is_one_of_probabilities(family: str) -> None:
    """At 1 the best row is written each step, at a low one many: whatever the score's own scale."""
    model = nextomni_edge.load(imported(family))
    block = {"block": 16} if family == "llada" else {}
    counts = []
    for threshold in (1.0, 0.02):
        found = model.generate("hello", length=16, steps=16, threshold=threshold, **block)
        counts.append(found.meter.steps)
    assert counts[0] == 16
    assert counts[1] < 16


def test_a_plan_of_a_masked_models_cost(invoke: Invoke) -> None:
    for family, task in (("llada", "text-to-text"), ("dream", "text-to-text")):
        found = answered(
            invoke(
                "bench", "--plan", imported(family), "--task", task, "--precision", "int8",
                "--device", "iphone", "--json",
            )
        )["plans"][0]  # fmt: skip
        assert found["model"] == str(imported(family))
    refused(
        invoke("bench", "--plan", imported("lumina_dimoo"), "--task", "text-to-image"), 2,
        "found 'unified' of text and image: export it, and plan the bundle",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "options", "sentence"),
    [
        ("llada", ("--length", 10, "--block", 8), "ask for 8 or 16 tokens, or another block"),
        ("llada", ("--length", 16, "--block", 8, "--steps", 3), "ask for 2 or 4 steps"),
        ("dream", ("--length", 8, "--block", 3, "--steps", 2), "expected at least one step each"),
        ("llada", ("--length", 10**5, "--steps", 10**4), "the model takes 512; shorten it"),
        ("llada", ("--to", "image", "-o", "a.png"), "this model answers in text"),
        ("mmada", ("--to", "image", "--size", "32x32", "-o", "a.png"), "draws 64 x 64"),
        ("lumina_dimoo", ("--to", "image", "--size", "30x32", "-o", "a.png"), "such as 32 x 32"),
        ("mmada", ("--to", "image", "--edit", "view", "-o", "a.png"), "edit: only Lumina-DiMOO"),
        ("mmada", ("--to", "image", "--block", 8, "-o", "a.png"), "block is for text, but image"),
        ("lumina_dimoo", (*PICTURE, "--block", 8, "-o", "a.png"), "block is for text, but image"),
        (
            "lumina_dimoo", ("--to", "image", "--edit", "view", "-o", "a.png"),
            "with a picture given",
        ),
        ("llada", ("--max-blocks", 3), "max_blocks means nothing for the stepper commit"),
    ],
)  # fmt: skip
def test_what_the_sampler_cannot_do_is_one_sentence(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str,
    options: tuple[object, ...], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    refused(invoke("run", imported(family), "--text", "a house", *options), 2, sentence)


def test_a_typed_mask_is_refused(invoke: Invoke) -> None:
    said = invoke("run", imported("llada"), "--text", "write <|mdm_mask|> here")
    refused(said, 2, "the text holds <|mdm_mask|>, the mask that the model fills in")
