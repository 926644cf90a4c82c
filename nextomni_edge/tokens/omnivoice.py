"""OmniVoice's prompts as its authors build them: a language, a design of the voice, the text to say
behind the text of a reference voice, and that voice's codes."""

from __future__ import annotations

import re
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Final

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.modalities.modality import TEXT
from nextomni_edge.tokens.parts import Turn
from nextomni_edge.tokens.sequence import Ids, Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer

NOTHING: Final = "None"  # in place of a language or a design
# sounds that the model makes, each tokenised by itself whatever stands around it
SOUNDS: Final = (
    "laughter", "sigh", "confirmation-en", "question-en", "question-ah", "question-oh",
    "question-ei", "question-yi", "surprise-ah", "surprise-oh", "surprise-wa", "surprise-yo",
    "dissatisfaction-hnn",
)  # fmt: skip
_SOUND = re.compile(rf"(\[(?:{'|'.join(SOUNDS)})\])")
HAN: Final = "[\u4e00-\u9fff]"


@dataclass(frozen=True)
class Voice:
    """A voice to speak in: the codes (n,K) of a clip, what it says, and its loudness before it was
    brought to the least that the model hears (root mean square)."""

    codes: Ids
    text: str
    loudness: float


@dataclass(frozen=True)
class Speech:
    """One piece of speech to make. language: a code of tokens/languages.py. design: what
    tokens/voice_design.py gives. denoise: a voice is to be spoken without its noise."""

    text: str
    language: str | None = None
    design: str | None = None
    voice: Voice | None = None
    denoise: bool = True


def prompt(tokenizer: TextTokenizer, speech: Speech) -> tuple[Segment, ...]:
    """Everything before the sound: <denoise> where there is a voice, language, design and text
    between their marks, and the voice's codes."""
    special, voice = tokenizer.special, speech.voice
    ids = [special.denoise] if speech.denoise and voice is not None else []
    for start, words, end in (
        (special.language_start, speech.language, special.language_end),
        (special.design_start, speech.design, special.design_end),
    ):
        ids += [start, *tokenizer.encode(words or NOTHING).tolist(), end]
    said = joined(speech.text, voice.text if voice else "")
    ids += [special.text_start, *_words(tokenizer, said), special.text_end]
    segments = (Segment(TEXT, np.asarray(ids, np.int64)),)
    return segments if voice is None else (*segments, Segment("audio", voice.codes))


def _words(tokenizer: TextTokenizer, text: str) -> list[int]:
    pieces = [piece for piece in _SOUND.split(text) if piece]
    return [token for piece in pieces for token in tokenizer.encode(piece).tolist()]


def joined(text: str, before: str = "") -> str:
    """A text behind that of a voice, in one line: one space for many, none next to a Han character,
    and ASCII parentheses."""
    whole = f"{before.strip()} {text.strip()}" if before else text.strip()
    whole = re.sub(r"[\r\n]+", "", whole).replace("\uff08", "(").replace("\uff09", ")")
    whole = re.sub(r"[ \t]+", " ", whole)
    return re.sub(rf"(?<={HAN})\s+|\s+(?={HAN})", "", whole)


def conversation(tokenizer: TextTokenizer, turns: Many[Turn]) -> tuple[Segment, ...]:
    """A text to say, behind a voice where the turn holds a sound. UsageError: more than one turn,
    or another medium."""
    parts = [part for turn in turns for part in turn.parts]
    sounds = [part for part in parts if part.kind == "audio"]
    if len(turns) != 1 or len(sounds) > 1 or len(parts) != len(sounds) + 1:
        raise UsageError("OmniVoice says one text, in at most one voice: give that only")
    words = next((part.value for part in parts if part.kind == TEXT), None)
    if not isinstance(words, str):
        raise UsageError("OmniVoice says one text, in at most one voice: give that only")
    codes = [np.asarray(part.value, np.int64) for part in sounds]
    voice = Voice(codes[0], "", 1.0) if codes else None
    return prompt(tokenizer, Speech(words, voice=voice))


def respond(segments: tuple[Segment, ...], kind: str, config: ModelConfig, count: int) -> Sequence:
    """Append a sound of `count` tokens, all masked. UsageError: another kind, or a count that the
    model does not make."""
    if kind != "audio":
        raise UsageError(f"modality {kind!r}: this model answers in audio")
    most = config.audio.max_positions
    if not 1 <= count <= most:
        raise UsageError(f"a sound of {count} tokens: the model makes 1 to {most}")
    mask = config.flow.audio.mask
    assert mask is not None, "the config's checks ask for a mask"
    codes = np.full((count, config.audio.codebook.codebooks), mask, np.int64)
    return Sequence((*segments, Segment("audio", codes, frozen=False)))


def unconditional(sequence: Sequence) -> list[Sequence]:
    """What guidance compares with: the sound to make, with nothing before it."""
    return [Sequence(sequence.segments[-1:])]
