"""Make a byte-level BPE tokenizer with the chat format's special tokens, from a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.formats.tokenizer import MAX_TOKENIZER, parse_tokenizer
from nextomni_edge.tokens.text import CHATML


def missing_special_tokens(path: Path) -> list[str]:
    """The chat format's special tokens that a tokenizer file does not have. InputError: no such
    file."""
    tokenizer = _read(path)
    return [token for token in CHATML.values() if tokenizer.token_to_id(token) is None]


def add_special_tokens(path: Path, out: Path) -> int:
    """Write the tokenizer of `path` with the chat format's special tokens, behind its own ids.
    Returns the size of the vocabulary."""
    tokenizer = _read(path)
    tokenizer.add_special_tokens(missing_special_tokens(path))
    tokenizer.save(str(out))
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def _read(path: Path) -> Tokenizer:
    content = read_regular(path, MAX_TOKENIZER)
    parse_tokenizer(content, path)
    try:
        return Tokenizer.from_buffer(content)
    except Exception as error:  # the library has no type of its own
        raise InputError(f"{path}: not a tokenizer file ({error})") from error


def train_tokenizer(corpus: Iterable[str], vocabulary_size: int, out: Path) -> None:
    """Write tokenizer.json; special tokens take the first ids. The vocabulary is at most
    `vocabulary_size`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?[^\s\w]+| ?\w+|\s"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(CHATML.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out))
