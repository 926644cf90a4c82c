"""Text to ids and back, and the special tokens of the chat format."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nextomni_edge.config import TextConfig
from nextomni_edge.errors import InputError, UsageError, reason_of
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.formats.tokenizer import MAX_TOKENIZER, parse_tokenizer
from nextomni_edge.modalities.table import MODALITIES

Ids = NDArray[np.int64]
MAX_TEXT: Final = 2**20  # characters; the library takes two hundred bytes for each
ABSENT: Final = -1  # no id: the format has no such token


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the format's own tokens; ABSENT where it has none. `null` stands for a dropped
    condition in guidance (METHOD 3). `more` holds (name, id) of the markers of modalities that have
    no field here."""

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
    mask: int = ABSENT
    head_end: int = ABSENT  # behind a role
    task_image: int = ABSENT  # before a prompt that asks for an image, or shows one (MMaDA)
    task_seen: int = ABSENT
    task_reasoned: int = ABSENT  # before a text that reasons about the image behind it (MMaDA)
    left_pad: int = ABSENT
    system: int = ABSENT  # Lumina-DiMOO's sections, each with its end
    system_end: int = ABSENT
    user: int = ABSENT
    user_end: int = ABSENT
    answer: int = ABSENT
    answer_end: int = ABSENT
    dropped: int = ABSENT  # in place of a condition
    newline: int = ABSENT  # behind each row of an image
    denoise: int = ABSENT  # OmniVoice: before a prompt with a voice that may be noisy
    language_start: int = ABSENT
    language_end: int = ABSENT
    design_start: int = ABSENT
    design_end: int = ABSENT
    text_start: int = ABSENT
    text_end: int = ABSENT
    more: tuple[tuple[str, int], ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """Every special id that the format has."""
        own = [getattr(self, field.name) for field in dataclasses.fields(self)[:-1]]
        return tuple(token for token in (*own, *dict(self.more).values()) if token != ABSENT)

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens at which an answer is over."""
        return tuple(token for token in (self.eos, self.im_end, self.answer_end) if token != ABSENT)

    @property
    def markers(self) -> tuple[int, ...]:
        """Tokens that open the sequence and surround media. The unconditional branch keeps them."""
        media = [token for name in MODALITIES for token in self.around(name)]
        return tuple(token for token in (self.bos, *media) if token != ABSENT)

    def around(self, modality: str) -> tuple[int, ...]:
        """The tokens before and behind a modality, ABSENT where the format has none; text has no
        such tokens."""
        known = vars(self) | dict(self.more)
        return tuple(known.get(name, ABSENT) for name in MODALITIES[modality].markers)

    def has(self, modality: str) -> bool:
        """Whether the format can hold a modality; text always, and a voice without markers."""
        bare = modality == "audio" and self.text_start != ABSENT
        return bare or ABSENT not in self.around(modality)


# How special tokens are spelled in tokenizer.json, by template.
CHATML: Final = {
    name: f"<|{name}|>"
    for name in (
        "pad", "eos", "null", "im_start", "im_end",
        *(marker for record in MODALITIES.values() for marker in record.markers),
    )
}  # fmt: skip
DEEPSEEK: Final = {
    "pad": "<｜▁pad▁｜>", "eos": "<｜end▁of▁sentence｜>", "bos": "<｜begin▁of▁sentence｜>",
    "image_start": "<begin_of_image>", "image_end": "<end_of_image>",
}  # fmt: skip
LLADA: Final = {
    "pad": "<|endoftext|>", "eos": "<|endoftext|>", "bos": "<|startoftext|>",
    "mask": "<|mdm_mask|>", "null": "<|mdm_mask|>", "im_start": "<|start_header_id|>",
    "head_end": "<|end_header_id|>", "im_end": "<|eot_id|>",
}  # fmt: skip
# MMaDA uses LLaDA's reserved tokens by their ids
MMADA: Final = LLADA | {
    "image_start": "<|reserved_token_0|>", "image_end": "<|reserved_token_1|>",
    "task_image": "<|reserved_token_4|>", "task_seen": "<|reserved_token_5|>",
    "left_pad": "<|reserved_token_9|>", "task_reasoned": "<|reserved_token_10|>",
}  # fmt: skip
LUMINA: Final = {
    "pad": "<|endoftext|>", "eos": "<|endoftext|>", "mask": "<|mdm_mask|>", "null": "<|mdm_mask|>",
    "image_start": "<Image>", "image_end": "</Image>", "system": "<system>",
    "system_end": "</system>", "user": "<user>", "user_end": "</user>", "answer": "<answer>",
    "answer_end": "</answer>", "dropped": "<uncondition>", "newline": "<|reserved_token_0|>",
}  # fmt: skip
DREAM: Final = {
    "pad": "<|endoftext|>", "eos": "<|endoftext|>", "mask": "<|mask|>", "null": "<|mask|>",
    "im_start": "<|im_start|>", "im_end": "<|im_end|>",
}  # fmt: skip
OMNIVOICE: Final = {
    "pad": "<|endoftext|>", "eos": "<|endoftext|>", "null": "<|endoftext|>",
    "denoise": "<|denoise|>", "language_start": "<|lang_start|>", "language_end": "<|lang_end|>",
    "design_start": "<|instruct_start|>", "design_end": "<|instruct_end|>",
    "text_start": "<|text_start|>", "text_end": "<|text_end|>",
}  # fmt: skip
OMNIDIFFUSION: Final = DREAM | {
    "image_start": "<|begin_of_image|>", "image_end": "<|end_of_image|>",
    "audio_start": "<|begin_of_audio|>", "audio_end": "<|end_of_audio|>",
}  # fmt: skip
SPELLINGS: Final = {
    "chatml": CHATML, "deepseek": DEEPSEEK,
    "llada": LLADA, "mmada": MMADA, "lumina": LUMINA, "dream": DREAM,
    "omnidiffusion": OMNIDIFFUSION, "omnivoice": OMNIVOICE,
}  # fmt: skip
MASKED: Final = ("llada", "mmada", "lumina", "dream", "omnidiffusion")


def open_tokenizer(path: Path) -> Tokenizer:
    """The library's tokenizer of a file, once its parts are checked. InputError: it is none."""
    content = read_regular(path, MAX_TOKENIZER)
    parse_tokenizer(content, path)
    with _library(f"{path}: not a tokenizer file"):
        return Tokenizer.from_buffer(content)


class TextTokenizer:
    """A `tokenizers` file in one of the chat templates. Special tokens in a user's text are plain
    text, never control."""

    def __init__(self, path: Path, config: TextConfig | None = None) -> None:
        self.template, self.system_prompt = (
            (config.template, config.system_prompt) if config else ("chatml", "")
        )
        self._path = path
        self._tokenizer = open_tokenizer(path)
        with _library(f"{path}: not a tokenizer file"):
            _switch_off(self._tokenizer)  # padding would be allocated before any check of ours
        ids: dict[str, int] = (
            {"null": config.null_token} if config and config.null_token is not None else {}
        )
        own = {field.name for field in dataclasses.fields(SpecialTokens)}
        more: list[tuple[str, int]] = []
        for name, spelling in SPELLINGS[self.template].items():
            found = self._tokenizer.token_to_id(spelling)
            if found is not None:
                ids |= {name: found} if name in own else {}
                more += [] if name in own else [(name, found)]
            elif name in own:  # a tokenizer may be older than other modalities
                raise InputError(f"{path}: special token {spelling} is missing")
        if "null" not in ids:
            raise InputError(
                f"{path}: the template {self.template} names no null token; the config must say"
                " text.null_token"
            )
        self.special = SpecialTokens(**ids, more=tuple(more))
        tokens = self._tokenizer.get_added_tokens_decoder()
        # never out of a user's text, whatever they look like
        self._reserved = {token for token, added in tokens.items() if added.special} | {
            token for name, token in (*ids.items(), *more) if name != "null"
        }
        added = sorted(token.content for token in tokens.values() if len(token.content) > 1)
        self._controls = ["<|"] if self.template == "chatml" else added
        self.vocabulary_size: int = self._tokenizer.get_vocab_size()
        special = self.special
        self._ends = special.ends if self.template in MASKED else (special.eos,)
        self._rows = config.vocabulary_size if config else None
        for token in ids.values():
            self._check_row(token)

    def encode(self, text: str) -> Ids:
        """Ids of a text, (n,) int64. A special token's spelling becomes ordinary characters.
        UsageError: the text is longer than any model reads, or holds the mask of a masked model.
        InputError: the file gives a word a control token's id, or one beyond the model's table."""
        if len(text) > MAX_TEXT:
            raise UsageError(
                f"a text of {len(text)} characters, at most {MAX_TEXT} are read; shorten it"
            )
        mask = SPELLINGS[self.template].get("mask")
        if mask is not None and mask in text:
            raise UsageError(
                f"the text holds {mask}, the mask that the model fills in; leave it out"
            )
        for spelling in self._controls:
            text = text.replace(spelling, f"{spelling[0]} {spelling[1:]}")
        with _library(f"{self._path}: the tokenizer cannot read this text"):
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if read := self._reserved.intersection(ids):
            control = str(self._tokenizer.id_to_token(min(read)))[:40]
            raise InputError(
                f"{self._path}: reads a part of the text as the control token {control!r};"
                " the tokenizer must not have it as an ordinary word: export again with another"
            )
        if ids:
            self._check_row(max(ids))
        return np.asarray(ids, dtype=np.int64)

    def check_vocabulary(self) -> None:
        """InputError: an id of the file is beyond the model's table."""
        self._check_row(max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0))

    def _check_row(self, token: int) -> None:
        if self._rows is not None and token >= self._rows:
            raise InputError(
                f"{self._path}: token id {token}, but the model's table has {self._rows} rows"
            )

    def decode(self, ids: Ids) -> str:
        """The text up to <EOS>, or another end of the answer, special tokens left out; ids that are
        no token's (of a table larger than the tokenizer) too."""
        listed = [int(token) for token in ids]
        end = next((at for at, token in enumerate(listed) if token in self._ends), len(listed))
        listed = listed[:end]
        if self.template in MASKED:
            listed = [token for token in listed if token < self.vocabulary_size]
        with _library(f"{self._path}: the tokenizer cannot spell these ids"):
            return str(self._tokenizer.decode(listed, skip_special_tokens=True)).strip()


@contextlib.contextmanager
def _library(what: str) -> Iterator[None]:
    """The library raises bare Exception for every fault of a file, and its panics are none."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise InputError(f"{what} ({reason_of(error)})") from error
        raise


def _switch_off(tokenizer: Tokenizer) -> None:
    """What a file may switch on for training or batches, and what changes answers: padding,
    truncation, dropout of merges, and special tokens that are read out of text."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if getattr(tokenizer.model, "dropout", None) is not None:
        tokenizer.model.dropout = None
    tokenizer.encode_special_tokens = True
