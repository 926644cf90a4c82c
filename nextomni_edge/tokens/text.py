"""Text to ids and back, and the special tokens of the chat format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nextomni_edge.config import TextConfig
from nextomni_edge.errors import InputError

Ids = NDArray[np.int64]
ABSENT: Final = -1  # no id: the format has no such token


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the format's own tokens; ABSENT where it has none. `null` stands for a dropped
    condition in guidance (METHOD 3)."""

    pad: int
    eos: int
    null: int
    im_start: int = ABSENT
    im_end: int = ABSENT
    image_start: int = ABSENT
    image_end: int = ABSENT
    audio_start: int = ABSENT
    audio_end: int = ABSENT
    video_start: int = ABSENT
    video_end: int = ABSENT
    bos: int = ABSENT

    @property
    def markers(self) -> tuple[int, ...]:
        """Tokens that open the sequence and surround media. The unconditional branch keeps them."""
        media = (
            self.image_start,
            self.image_end,
            self.audio_start,
            self.audio_end,
            self.video_start,
            self.video_end,
        )
        return tuple(token for token in (self.bos, *media) if token != ABSENT)

    def has(self, kind: str) -> bool:
        """Whether the format can hold a kind of media; text always."""
        return kind == "text" or getattr(self, f"{kind}_start") != ABSENT


# How special tokens are spelled in tokenizer.json, by template.
CHATML: Final = {
    name: f"<|{name}|>"
    for name in (
        "pad", "eos", "null", "im_start", "im_end",
        "image_start", "image_end", "audio_start", "audio_end", "video_start", "video_end",
    )
}  # fmt: skip
DEEPSEEK: Final = {
    "pad": "<｜▁pad▁｜>", "eos": "<｜end▁of▁sentence｜>", "bos": "<｜begin▁of▁sentence｜>",
    "image_start": "<begin_of_image>", "image_end": "<end_of_image>",
}  # fmt: skip
SPELLINGS: Final = {"chatml": CHATML, "deepseek": DEEPSEEK}


class TextTokenizer:
    """A `tokenizers` file in one of the chat templates. Special tokens in a user's text are plain
    text, never control."""

    def __init__(self, path: Path, config: TextConfig | None = None) -> None:
        self.template, self.system_prompt = (
            (config.template, config.system_prompt) if config else ("chatml", "")
        )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise InputError(f"{path}: not a tokenizer file ({error})") from error
        ids: dict[str, int] = (
            {"null": config.null_token} if config and config.null_token is not None else {}
        )
        for name, spelling in SPELLINGS[self.template].items():
            found = self._tokenizer.token_to_id(spelling)
            if found is None:
                raise InputError(f"{path}: special token {spelling} is missing")
            ids[name] = found
        if "null" not in ids:
            raise InputError(
                f"{path}: the template {self.template} names no null token; the config must say"
                " text.null_token"
            )
        self.special = SpecialTokens(**ids)
        added = sorted(
            token.content
            for token in self._tokenizer.get_added_tokens_decoder().values()
            if len(token.content) > 1
        )
        self._controls = ["<|"] if self.template == "chatml" else added
        self.vocabulary_size: int = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> Ids:
        """Ids of a text, (n,) int64. A special token's spelling becomes ordinary characters."""
        for spelling in self._controls:
            text = text.replace(spelling, f"{spelling[0]} {spelling[1:]}")
        return np.asarray(
            self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64
        )

    def decode(self, ids: Ids) -> str:
        """The text up to <EOS>, special tokens left out."""
        listed = [int(token) for token in ids]
        if self.special.eos in listed:
            listed = listed[: listed.index(self.special.eos)]
        return str(self._tokenizer.decode(listed, skip_special_tokens=True)).strip()
