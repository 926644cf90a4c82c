"""Text to ids and back, and the special tokens of the chat format."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nextomni_edge.errors import InputError

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that the format itself uses. `null` stands for a dropped condition in guidance (METHOD 3)."""

    pad: int
    eos: int
    null: int
    im_start: int
    im_end: int
    image_start: int
    image_end: int
    audio_start: int
    audio_end: int
    video_start: int
    video_end: int

    @property
    def markers(self) -> tuple[int, ...]:
        """Tokens that stand around media; the unconditional branch keeps them."""
        return (self.image_start, self.image_end, self.audio_start, self.audio_end, self.video_start, self.video_end)


def spelling(name: str) -> str:
    """How a special token is spelled in tokenizer.json."""
    return f"<|{name}|>"


class TextTokenizer:
    """A `tokenizers` file. Special tokens in a user's text are read as plain text, never as control."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise InputError(f"{path}: not a tokenizer file ({error})") from error
        ids: dict[str, int] = {}
        for field in dataclasses.fields(SpecialTokens):
            found = self._tokenizer.token_to_id(spelling(field.name))
            if found is None:
                raise InputError(f"{path}: special token {spelling(field.name)} is missing")
            ids[field.name] = found
        self.special = SpecialTokens(**ids)
        self.vocabulary_size: int = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> Ids:
        """Ids of a text, (n,) int64, special spellings split up so that they are ordinary characters."""
        return np.asarray(self._tokenizer.encode(text.replace("<|", "< |"), add_special_tokens=False).ids, dtype=np.int64)

    def decode(self, ids: Ids) -> str:
        """The text up to <EOS>, special tokens left out."""
        listed = [int(token) for token in ids]
        if self.special.eos in listed:
            listed = listed[: listed.index(self.special.eos)]
        return str(self._tokenizer.decode(listed, skip_special_tokens=True)).strip()
