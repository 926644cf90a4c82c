"""Text to ids, a picture to pixels, a sound to its log-mel: recorded at export, proven on the
device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from nextomni_edge.verify import preparation
from tests.tiny import CORPUS, tiny_config

CONFIG = tiny_config()


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    train_tokenizer(CORPUS, CONFIG.text.vocabulary_size, tmp_path / "tokenizer.json")
    return TextTokenizer(tmp_path / "tokenizer.json", CONFIG.text)


def test_what_is_recorded_is_whole_and_comes_again(tokenizer: TextTokenizer) -> None:
    recorded = preparation.record(CONFIG, tokenizer)
    kinds = [name.split("/")[0] for name in recorded]
    assert kinds == ["text"] * 4 + ["image", "audio"]
    assert recorded["image/0"][1].shape == (16, 16, 3)
    assert recorded["audio/0"][1].shape[1:] == (CONFIG.audio.frames_per_token, CONFIG.audio.mels)
    assert list(preparation.compare(recorded, CONFIG, tokenizer)) == []
    again = preparation.record(CONFIG, tokenizer)
    for name, arrays in recorded.items():
        for one, other in zip(arrays, again[name], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("text/0", lambda made: made + (np.arange(len(made)) == 2), "preparation text/0: id "),
        ("text/1", lambda made: made[:-1], "preparation text/1: shape ("),
        ("text/3", lambda made: np.append(made, 1), "preparation text/3: shape ("),
        ("image/0", lambda made: np.roll(made, 1, axis=0), "levels, limit 1"),
        ("image/0", lambda made: made.transpose(1, 0, 2)[:, ::-1], "levels, limit 1"),
        ("image/0", lambda made: made[:-1], "preparation image/0: shape (16, 16, 3), recorded"),
        ("audio/0", lambda made: made + np.float32(2e-4), "of its log-mel, limit 0.0001"),
        ("audio/0", lambda made: made * np.float32("nan"), "of its log-mel, limit 0.0001"),
        ("audio/0", lambda made: made[:, :-1], "preparation audio/0: shape ("),
    ],
)
def test_another_preparation_is_found_and_named(
    tokenizer: TextTokenizer, name: str, change: object, words: str
) -> None:
    recorded = preparation.record(CONFIG, tokenizer)
    given, made = recorded[name]
    recorded[name] = (given, change(made))  # type: ignore[operator]
    (line,) = preparation.compare(recorded, CONFIG, tokenizer)
    assert line.startswith(f"preparation {name}: ") and words in line


def test_another_tokenizer_is_found(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    recorded = preparation.record(CONFIG, tokenizer)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["model"]["merges"] = data["model"]["merges"][:3]
    (tmp_path / "other.json").write_text(json.dumps(data))
    other = TextTokenizer(tmp_path / "other.json", CONFIG.text)
    lines = list(preparation.compare(recorded, CONFIG, other))
    assert lines and all(line.startswith("preparation text/") for line in lines)


@pytest.mark.parametrize("name", ["image/0", "audio/0"])
def test_bytes_that_are_no_media_are_one_line(tokenizer: TextTokenizer, name: str) -> None:
    recorded = preparation.record(CONFIG, tokenizer)
    recorded[name] = (np.zeros(9, np.uint8), recorded[name][1])
    (line,) = preparation.compare(recorded, CONFIG, tokenizer)
    assert line.startswith(f"preparation {name}: ") and "\n" not in line
