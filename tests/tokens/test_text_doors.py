"""The door before the tokenizers library: texts that are too long, and panics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.tokens.text import MAX_TEXT, TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer

pytestmark = pytest.mark.usefixtures("within_bounds")


class PanicException(BaseException):
    """As the library's own: no Exception."""


class Panicking:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def encode(self, text: str, add_special_tokens: bool) -> None:
        raise self.error

    decode = encode


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(["a red cat", "a blue dog"], 300, path)
    return path


def test_a_text_longer_than_any_model_reads_is_refused_before_it_is_tokenised(path: Path) -> None:
    tokenizer = TextTokenizer(path)
    for length in (MAX_TEXT + 1, 16 * MAX_TEXT):
        with pytest.raises(UsageError) as raised:
            tokenizer.encode("a" * length)
        assert str(raised.value) == (
            f"a text of {length} characters, at most {MAX_TEXT} are read; shorten it"
        )


@pytest.mark.parametrize("error", [PanicException("at lib.rs:647"), Exception("at lib.rs:647")])
def test_a_panic_of_the_library_is_bad_input(path: Path, error: BaseException) -> None:
    tokenizer = TextTokenizer(path)
    tokenizer._tokenizer = Panicking(error)
    with pytest.raises(InputError) as raised:
        tokenizer.encode("a")
    assert str(raised.value) == f"{path}: the tokenizer cannot read this text (at lib.rs:647)"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_what_ends_the_program_is_no_panic(path: Path, error: BaseException) -> None:
    tokenizer = TextTokenizer(path)
    tokenizer._tokenizer = Panicking(error)
    with pytest.raises(type(error)):
        tokenizer.encode("a")


@pytest.mark.parametrize(
    "change",
    [
        {"vocab": ["a", "b", "<|pad|>"]},
        {"vocab": [["a", -1.0], ["b", -2.0]]},
        {"vocab": {}},
        {"merges": [1, 2]},
        {"merges": [[1, 2]]},
        {"merges": "a b"},
        {"merges": {"a": "b"}},
        {"merges": ["a b c"]},
        {"merges": [["a", "\ud7ff not there"]]},
        {"merges": [["a"]]},
        {"merges": None},
        {"unk_token": "not there", "fuse_unk": 7},
        {"dropout": "x"},
        {"dropout": 2.0},
        {"dropout": -1e308},
        {"byte_fallback": "yes"},
        {"ignore_merges": []},
    ],
    ids=str,
)
def test_a_model_that_the_library_refuses_is_bad_input(
    path: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    data = json.loads(path.read_text())
    data["model"] |= change
    changed = tmp_path / "tokenizer.json"
    changed.write_text(json.dumps(data))
    with pytest.raises(InputError) as raised:
        TextTokenizer(changed)
    assert str(raised.value).startswith(f"{changed}: not a tokenizer file (")
    assert "\n" not in str(raised.value)
