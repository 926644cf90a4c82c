"""Make a byte-level BPE tokenizer with the chat format's special tokens, from a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from nextomni_edge.tokens.text import CHATML


def missing_special_tokens(tokenizer: Tokenizer) -> list[str]:
    """The chat format's special tokens that a tokenizer does not have."""
    return [token for token in CHATML.values() if tokenizer.token_to_id(token) is None]


def add_special_tokens(tokenizer: Tokenizer) -> int:
    """Add the chat format's missing special tokens, behind the tokenizer's own ids. Returns the
    size of the vocabulary."""
    tokenizer.add_special_tokens(missing_special_tokens(tokenizer))
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


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
