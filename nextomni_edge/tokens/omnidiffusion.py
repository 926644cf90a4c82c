"""Omni-Diffusion's prompts as its authors build them, the prompts that guidance compares them with,
and what an answer of mixed ids holds (arXiv 2603.06577)."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.modalities.modality import TEXT
from nextomni_edge.spec import Modality
from nextomni_edge.tokens.parts import Part, Turn
from nextomni_edge.tokens.sequence import Ids, Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer

DRAW: Final = "Generate an image based on the provided text description.\n"
SPEAK: Final = "Convert the text to speech.\n"
WRITE: Final = "Convert the speech to text."
DRAW_HEARD: Final = "Please generate an image based on the input audio."
ANSWER_HEARD: Final = "Please response the input audio."
ANSWER_SHOWN: Final = "Please response the input audio based on the given image."

Piece = str | int | NDArray[Any]  # words, an id, or rows that the backbone reads


def conversation(
    tokenizer: TextTokenizer, turns: Many[Turn], answer: str, config: ModelConfig
) -> tuple[Segment, ...]:
    """ChatML without a default system message. The words that name the task are those of the
    authors' scripts: before a text that is to be drawn or spoken, with a sound that is to be
    written, and as a system message of a sound without words."""
    special = tokenizer.special
    pieces: list[Piece] = []
    if system := _system(turns[-1], answer):
        pieces += [special.im_start, f"system\n{system}", special.im_end, "\n"]
    for index, turn in enumerate(turns):
        behind = turns[index + 1].parts[0].kind if index + 1 < len(turns) else answer
        said = _asked(tokenizer, turn, behind, config) if turn.role == "user" else [
            piece for part in turn.parts for piece in _shown(tokenizer, part, config)
        ]  # fmt: skip
        pieces += [special.im_start, f"{turn.role}\n", *said, special.im_end, "\n"]
    return tuple(_segments(tokenizer, [*pieces, special.im_start, "assistant\n"]))


def alone(tokenizer: TextTokenizer, part: Part, config: ModelConfig) -> tuple[Segment, ...]:
    """A part by itself, and the end of text. UsageError: the model sees no such thing."""
    pieces = [*_shown(tokenizer, part, config), tokenizer.special.eos]
    return tuple(_segments(tokenizer, pieces))


def _system(turn: Turn, answer: str) -> str:
    """The system message of a turn: of a sound that comes without words, and not to be written."""
    kinds = {part.kind for part in turn.parts if part.kind != TEXT or part.value}
    if kinds == {"audio", "image"}:
        return ANSWER_SHOWN
    if kinds != {"audio"} or answer == TEXT:
        return ""
    return DRAW_HEARD if answer == "image" else ANSWER_HEARD


def _asked(tokenizer: TextTokenizer, turn: Turn, answer: str, config: ModelConfig) -> list[Piece]:
    """What a user says: the words, then a newline before each medium, sounds first. Of a sound with
    a picture only the newline between them is there where there are no words."""
    words = "".join(str(part.value) for part in turn.parts if part.kind == TEXT)
    media = sorted((part for part in turn.parts if part.kind != TEXT), key=lambda part: part.kind)
    kinds = {part.kind for part in media}
    if not media:
        words = {"image": DRAW, "audio": SPEAK}.get(answer, "") + words
    if kinds == {"audio"} and not words and answer == TEXT:
        words = WRITE
    pieces: list[Piece] = [words]
    for index, part in enumerate(media):
        first = index == 0 and not words and kinds == {"audio", "image"}
        pieces += [*([] if first else ["\n"]), *_shown(tokenizer, part, config)]
    return pieces


def _shown(tokenizer: TextTokenizer, part: Part, config: ModelConfig) -> list[Piece]:
    """A medium between its markers: codes as ids of the vocabulary, or the rows of a sound that was
    heard. UsageError: the model sees no such thing."""
    if isinstance(part.value, str):
        return [part.value]
    if part.kind not in config.modalities:
        raise UsageError(f"{part.kind}: this model's conversations hold no {part.kind}")
    start, end = tokenizer.special.around(part.kind)
    if part.value.dtype == np.float32:
        return [start, part.value, end]
    offset = config.coded(part.kind).offset or 0  # type: ignore[union-attr]  # both media have one
    return [start, *(int(code) + offset for code in part.value.reshape(-1)), end]


def _segments(tokenizer: TextTokenizer, pieces: list[Piece]) -> Iterator[Segment]:
    """Adjacent words are tokenised together, because merges may cross their border."""
    ids: list[int] = []
    words = ""
    for piece in [*pieces, np.zeros((0, 0), np.float32)]:
        if isinstance(piece, str):
            words += piece
            continue
        ids += tokenizer.encode(words).tolist() if words else []
        words = ""
        if isinstance(piece, int):
            ids.append(piece)
            continue
        yield Segment(TEXT, np.asarray(ids, dtype=np.int64))
        ids = []
        if len(piece):
            yield Segment("audio", piece)


def respond(
    segments: tuple[Segment, ...],
    kind: str,
    config: ModelConfig,
    tokenizer: TextTokenizer,
    length: int | None = None,
    size: tuple[int, int] | None = None,
) -> Sequence:
    """Append the answer: `length` masked ids of the whole vocabulary, by default the path's own
    number; where the path says so, the marker that begins a sound is given. UsageError: another
    kind or size than the model's."""
    if kind not in config.modalities:
        raise UsageError(
            f"modality {kind!r}: this model answers in {' or '.join(config.modalities)}"
        )
    side = config.image.side
    if size is not None and size != (side, side):
        raise UsageError(
            f"a picture of {size[0]} x {size[1]} pixels: this model draws {side} x {side}"
        )
    path = config.path(kind)
    tokens = length or path.tokens or config.text.block_size
    ids = np.full(tokens, tokenizer.special.mask, dtype=np.int64)
    if path.opens is not None:
        prompt = Sequence(segments).length  # the authors' sum is one of float32
        place = int(np.float32(prompt + path.opens * tokens)) - prompt
        ids[min(place, tokens - 1)] = tokenizer.special.audio_start
    shaped = ids if kind == TEXT else ids[:, None]
    return Sequence((*segments, Segment(kind, shaped, frozen=False)))


def unconditional(
    sequence: Sequence, modality: Modality, tokenizer: TextTokenizer, config: ModelConfig, seed: int
) -> list[Sequence]:
    """
    The sequence that guidance compares a picture with. Of a text: random ids in its place, each at
    most once. Of a sound: an empty user turn, which is shorter.

    UsageError: no picture of one text or of one sound.
    """
    answer, path = sequence.segments[-1], config.path(modality)
    heard = any(segment.continuous for segment in sequence.segments)
    if modality != "image":
        raise UsageError("guidance: Omni-Diffusion compares pictures only; leave it out")
    if not heard:
        return [Sequence((_filled(sequence, tokenizer, path.filled, seed), answer))]
    special = tokenizer.special
    empty: list[Piece] = [
        special.im_start, f"system\n{DRAW_HEARD}", special.im_end, "\n", special.im_start, "user\n",
        special.im_end, "\n", special.im_start, "assistant\n",
    ]  # fmt: skip
    given = tuple(_segments(tokenizer, empty))
    missing = sequence.length - Sequence((*given, answer)).length
    if missing < 0:
        raise UsageError("guidance: the prompt is shorter than one without a sound; leave it out")
    if path.compared == "rows":
        return [Sequence((*given, answer))]
    behind = np.zeros((missing, config.backbone.hidden_size), np.float32)
    return [Sequence((*given, answer, Segment("audio", behind)))]


def _filled(sequence: Sequence, tokenizer: TextTokenizer, drawn: str, seed: int) -> Segment:
    """The prompt with random ids in place of the text that is to be drawn."""
    special, ids = tokenizer.special, sequence.segments[0].tokens.copy()
    opening = [special.im_start, *tokenizer.encode(f"user\n{DRAW}").tolist()]
    closing = [
        special.im_end, *tokenizer.encode("\n").tolist(), special.im_start,
        *tokenizer.encode("assistant\n").tolist(),
    ]  # fmt: skip
    first, last = len(opening), len(ids) - len(closing)
    if len(sequence.segments) != 2 or ids[:first].tolist() != opening or last < first:
        raise UsageError("guidance: give one text to draw, or one sound, or leave guidance out")
    words = special.pad if drawn == "words" else special.audio_start
    if last - first > words:
        raise UsageError(
            f"guidance: a text of {last - first} tokens, at most {words} are replaced; shorten it"
        )
    generator = np.random.Generator(np.random.Philox(key=seed))
    ids[first:last] = generator.permutation(words)[: last - first]
    return Segment(TEXT, ids)


def first_code(config: ModelConfig) -> int:
    """The id behind those of text and control tokens."""
    return min(config.image.offset or 0, config.audio.offset or 0)


def codes(modality: Modality, ids: Ids, config: ModelConfig) -> Ids:
    """The codes (n,) of one modality among an answer's ids."""
    section = config.image if modality == "image" else config.audio
    found = ids.reshape(-1) - (section.offset or 0)
    return found[(found >= 0) & (found < section.codebook.entries)]


def with_a_code(modality: Modality, ids: Ids, config: ModelConfig) -> Ids:
    """An answer's ids, and code 0 behind them where they hold none: what untrained weights answer
    is decoded too."""
    if len(codes(modality, ids, config)):
        return ids.reshape(-1)
    section = config.image if modality == "image" else config.audio
    return np.append(ids.reshape(-1), section.offset or 0)


def content(modality: Modality, ids: Ids, config: ModelConfig) -> Part:
    """
    The picture (h,w,1) or the sound (n,1) that an answer's ids hold, in codes. A picture that is
    too short ends in its last code; what is too much of it is cut off.

    While the answer still holds masks, code 0 stands for a picture without any. InputError: a whole
    answer without one.
    """
    found = codes(modality, ids, config)
    if not len(found) and not (ids == config.path(modality).mask).any():
        what = "picture" if modality == "image" else "sound"
        raise InputError(
            f"the answer holds no code of a {what}: the prompt may be outside what the model was"
            " trained on; try another seed, more steps or a longer answer"
        )
    if modality == "audio":
        return Part("audio", found[:, None])
    side = config.image.side // config.image.patch
    last = found[-1] if len(found) else 0
    square = np.append(found, np.full(max(0, side**2 - len(found)), last))[: side**2]
    return Part("image", square.astype(np.int64).reshape(side, side, 1))
