"""A tokenizer file's own switches, and what it may read out of a user's text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.errors import InputError
from nextomni_edge.tokens.text import CHATML, TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from tests.tiny import CORPUS, tiny_config

pytestmark = pytest.mark.usefixtures("within_bounds")

TEXT = "draw a red rocket spinning, what is this? say a cat"
CONFIG = tiny_config().text


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.json"
    train_tokenizer(CORPUS, CONFIG.vocabulary_size, path)
    return path


def changed(plain: Path, **keys: Any) -> Path:
    """The file with other top-level keys; those of the model as `model_KEY`."""
    data = json.loads(plain.read_text())
    for key, value in keys.items():
        (data["model"] if key.startswith("model_") else data)[key.removeprefix("model_")] = value
    path = plain.with_name("changed.json")
    path.write_text(json.dumps(data))
    return path


def padding(strategy: Any, direction: str = "Right", multiple: int | None = None) -> dict[str, Any]:
    return {
        "strategy": strategy, "direction": direction, "pad_to_multiple_of": multiple,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|pad|>",
    }  # fmt: skip


def truncation(length: int, direction: str = "Right", strategy: str = "LongestFirst") -> Any:
    return {"direction": direction, "max_length": length, "strategy": strategy, "stride": 0}


@pytest.mark.parametrize(
    "keys",
    [
        {"padding": padding({"Fixed": 64})},
        {"padding": padding("BatchLongest", "Left", 32)},
        {"padding": padding({"Fixed": 7}, "Left")},
        {"truncation": truncation(4)},
        {"truncation": truncation(1, "Left")},
        {"truncation": truncation(0, strategy="OnlyFirst")},
        {"model_dropout": 0.5},
        {"model_dropout": 1.0},
        {"model_dropout": 0.01},
        {"padding": padding({"Fixed": 9}), "truncation": truncation(9), "model_dropout": 0.9},
    ],
    ids=str,
)
def test_a_file_s_switches_change_no_ids(plain: Path, keys: dict[str, Any]) -> None:
    expected = TextTokenizer(plain, CONFIG).encode(TEXT)
    tokenizer = TextTokenizer(changed(plain, **keys), CONFIG)
    for _ in range(20):
        np.testing.assert_array_equal(tokenizer.encode(TEXT), expected)


SPELLINGS = ["</s>", "<eos>", "[SEP]", "▁▁", "red", "qq", "\n\n", "火箭", "<|x|>", "Rocket"]


@pytest.mark.parametrize("flags", [{}, {"lstrip": True, "rstrip": True}, {"single_word": True}])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_added_special_token_comes_out_of_a_text(
    plain: Path, spelling: str, normalized: bool, flags: dict[str, bool]
) -> None:
    data = json.loads(plain.read_text())
    last = max([token["id"] for token in data["added_tokens"]] + [*data["model"]["vocab"].values()])
    token = {
        "id": last + 1, "content": spelling, "single_word": False, "lstrip": False,
        "rstrip": False, "normalized": normalized, "special": True,
    }  # fmt: skip
    path = changed(plain, added_tokens=[*data["added_tokens"], token | flags])
    tokenizer = TextTokenizer(path, CONFIG)
    for text in (spelling, f"draw {spelling} now", f"{spelling}{spelling}", f"x{spelling}y"):
        ids = tokenizer.encode(text)
        assert last + 1 not in ids
        np.testing.assert_array_equal(ids, TextTokenizer(plain, CONFIG).encode(text))


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("spelling", CHATML.values())
def test_no_token_of_the_template_comes_out_of_a_text(
    plain: Path, spelling: str, special: bool
) -> None:
    """Whether or not the file calls it special."""
    data = json.loads(plain.read_text())
    tokens = [token | {"special": special} for token in data["added_tokens"]]
    tokenizer = TextTokenizer(changed(plain, added_tokens=tokens), CONFIG)
    reserved = {token["id"] for token in tokens}
    for text in (spelling, f" {spelling} ", spelling * 3, f"<{spelling}>"):
        assert not reserved & set(tokenizer.encode(text).tolist())


@pytest.mark.parametrize("word", ["rocket", "cat", "this"])
def test_a_control_token_that_is_an_ordinary_word_is_refused(plain: Path, word: str) -> None:
    """The file gives a word of the text the id of <|eos|>."""
    data = json.loads(plain.read_text())
    names = [token["content"] for token in sorted(data["added_tokens"], key=lambda t: t["id"])]
    words = {name: index for index, name in enumerate([*names, "[UNK]", "draw"])}
    model = {"type": "WordLevel", "vocab": words | {word: words["<|eos|>"]}, "unk_token": "[UNK]"}
    path = changed(plain, model=model, pre_tokenizer={"type": "Whitespace"}, decoder=None)
    with pytest.raises(InputError) as raised:
        TextTokenizer(path, CONFIG).encode(f"draw {word}")
    assert str(raised.value).startswith(f"{path}: reads a part of the text as the control token")


@pytest.mark.parametrize("rows", [1, 11, 40, 200])
def test_ids_beyond_the_model_s_table_are_refused(plain: Path, rows: int) -> None:
    config = dataclasses.replace(CONFIG, vocabulary_size=rows)
    with pytest.raises(InputError) as raised:
        tokenizer = TextTokenizer(plain, config)
        tokenizer.check_vocabulary()
    assert str(raised.value).endswith(f", but the model's table has {rows} rows")
    if rows >= len(CHATML):
        with pytest.raises(InputError, match=f"but the model's table has {rows} rows"):
            TextTokenizer(plain, config).encode("zebra \U0010ffff ~{}")
