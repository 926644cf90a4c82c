"""Conversations as sequences, in ChatML or DeepSeek's template. Training and every device use this
module only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.modalities.modality import TEXT
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.modalities.table import Kind as Kind
from nextomni_edge.tokens import masked, omnidiffusion, omnivoice
from nextomni_edge.tokens.duration import USUAL_TOKENS
from nextomni_edge.tokens.parts import Part as Part
from nextomni_edge.tokens.parts import Turn as Turn
from nextomni_edge.tokens.sequence import Ids, Segment, Sequence
from nextomni_edge.tokens.text import MASKED, TextTokenizer


def _text(*tokens: int) -> Segment:
    return Segment(TEXT, np.asarray(tokens, dtype=np.int64))


def part_segments(tokenizer: TextTokenizer, part: Part, frozen: bool = True) -> tuple[Segment, ...]:
    """A part between its markers. Text has none. UsageError: the template has no markers for this
    kind."""
    special = tokenizer.special
    if not special.has(part.kind):
        raise UsageError(f"{part.kind}: this model's conversations hold no {part.kind}")
    if isinstance(part.value, str):
        return (Segment(TEXT, tokenizer.encode(part.value), frozen),)
    start, end = special.around(part.kind)
    frames_of = MODALITIES[part.kind].frames_of
    if frames_of is None:
        return (_text(start), Segment(part.kind, part.value, frozen), _text(end))
    frames = [part_segments(tokenizer, Part(frames_of, frame), frozen) for frame in part.value]
    return (_text(start), *(segment for frame in frames for segment in frame), _text(end))


def conversation(
    tokenizer: TextTokenizer,
    turns: Iterable[Turn],
    answer: Kind = TEXT,
    edit: str | None = None,
    config: ModelConfig | None = None,
) -> tuple[Segment, ...]:
    """Everything said so far, frozen, and the opening of the assistant's next turn. That turn will
    hold an `answer`. `edit`: a name of masked.EDITS. `config`: of a model whose answers mix
    modalities. UsageError: the model does not support it."""
    if edit is not None and tokenizer.template != "lumina":
        raise UsageError("edit: only Lumina-DiMOO draws from a given picture; leave it out")
    if config is not None and config.mixes:
        return omnidiffusion.conversation(tokenizer, list(turns), answer, config)
    if tokenizer.template == "omnivoice":
        return omnivoice.conversation(tokenizer, list(turns))
    assert tokenizer.template != "omnidiffusion", "its form needs the config"
    if tokenizer.template in MASKED:
        return masked.conversation(tokenizer, turns, answer, edit)
    if tokenizer.template == "deepseek":
        return _deepseek(tokenizer, turns, answer)
    special = tokenizer.special
    newline = tokenizer.encode("\n")
    segments: list[Segment] = []

    def opening(role: str) -> Segment:
        return _text(special.im_start, *tokenizer.encode(role), *newline)

    for turn in turns:
        segments.append(opening(turn.role))
        for part in turn.parts:
            segments.extend(part_segments(tokenizer, part))
        segments.append(_text(special.im_end, *newline))
    return (*segments, opening("assistant"))


def _deepseek(tokenizer: TextTokenizer, turns: Iterable[Turn], answer: Kind) -> tuple[Segment, ...]:
    """Janus' form: <BOS>, the system's words before an answer in text, then "User: …", blank line,
    "Assistant: …", <EOS>.

    Adjacent texts are tokenised together, because a tokenizer's merges may cross their border.
    """
    said = f"{tokenizer.system_prompt}\n\n" if answer == TEXT and tokenizer.system_prompt else ""
    segments = [_text(tokenizer.special.bos)]

    def spoken(text: str) -> list[Segment]:
        return [Segment(TEXT, tokenizer.encode(text))] if text else []

    for turn in turns:
        said += f"{turn.role.capitalize()}: "
        for part in turn.parts:
            if isinstance(part.value, str):
                said += part.value.strip()
            else:
                segments += [*spoken(said), *part_segments(tokenizer, part)]
                said = ""
        if turn.role == "assistant":
            segments += [*spoken(said), _text(tokenizer.special.eos)]
        said = "" if turn.role == "assistant" else f"{said}\n\n"
    return (*segments, *spoken(f"{said}Assistant:"))


def text_response(tokenizer: TextTokenizer, text: str, block_size: int) -> Ids:
    """A response in training's form: content, <EOS>, then <PAD> to a whole number of blocks."""
    ids = [*tokenizer.encode(text), tokenizer.special.eos]
    ids += [tokenizer.special.pad] * (-len(ids) % block_size)
    return np.asarray(ids, dtype=np.int64)


def respond(
    segments: tuple[Segment, ...],
    kind: Kind,
    config: ModelConfig,
    tokenizer: TextTokenizer,
    count: int | None = None,
    size: tuple[int, int] | None = None,
    length: int | None = None,
) -> Sequence:
    """Append the segments to generate, all zero for now: `count` blocks of text, frames of video,
    or tokens of audio; None is the modality's usual length. A masked model takes any `length` of
    text, and an image may have a `size` (width, height) in pixels; all of it is masked.

    With a text canvas, the answer takes everything that the prompt leaves of it. UsageError: a kind
    or a count that the model does not support, or a prompt that leaves nothing.
    """
    if kind not in MODALITIES:
        raise UsageError(f"modality {kind!r}: expected one of {', '.join(MODALITIES)}")
    if config.mixes:
        units = {TEXT: config.text.block_size, "audio": 1}.get(kind)
        tokens = count * units if length is None and count and units else length
        return omnidiffusion.respond(segments, kind, config, tokenizer, tokens, size)
    if config.speaks_only:
        if size is not None or length is not None:
            raise UsageError("size and length: this model answers in sound; leave them out")
        return omnivoice.respond(segments, kind, config, count or USUAL_TOKENS)
    if tokenizer.template in MASKED:
        tokens = (count or 1) * config.text.block_size if length is None else length
        return masked.respond(segments, kind, config, tokenizer, tokens, size)
    if size is not None or length is not None:
        raise UsageError("size and length are for masked models, which this is not: leave them out")
    if not tokenizer.special.has(kind):
        raise UsageError(
            f"modality {kind!r}: this model answers in {' or '.join(config.modalities)}"
        )
    record = MODALITIES[kind]
    count, most = record.usual(config) if count is None else count, record.most(config)
    if not 1 <= count <= most:
        raise UsageError(f"{kind} response of {count}: the model takes 1 to {most}")
    shape = record.shape(config, count)
    if kind == TEXT:
        if config.text.canvas is not None:
            shape = (_left_on_canvas(config.text.canvas, Sequence(segments).length),)
        fill = config.flow.text.mask if config.flow.text.masked else 0
        response = Segment(TEXT, np.full(shape, fill, dtype=np.int64), frozen=False)
        return Sequence((*segments, response))
    empty = Part(kind, np.zeros(shape, dtype=np.int64))
    return Sequence((*segments, *part_segments(tokenizer, empty, frozen=False)))


def _left_on_canvas(canvas: int, prompt: int) -> int:
    """Positions that a prompt leaves of the canvas. UsageError: none."""
    if prompt >= canvas:
        raise UsageError(f"prompt of {prompt} positions: the model's canvas has {canvas}")
    return canvas - prompt


def embedding_sequence(tokenizer: TextTokenizer, part: Part, config: ModelConfig) -> Sequence:
    """A part and <EOS>. The backbone's hidden state at the last row is the part's embedding (METHOD
    4). UsageError: the model has none."""
    if config.speaks_only:
        raise UsageError("this model speaks, and has no embeddings of texts and media")
    if config.mixes:
        return Sequence(omnidiffusion.alone(tokenizer, part, config))
    if not isinstance(part.value, str) and part.value.ndim == 3 and part.kind == "image":
        codes = part.value.reshape(-1, part.value.shape[2])  # a masked model's picture, by rows
        part = Part(part.kind, codes)
    return Sequence((*part_segments(tokenizer, part), _text(tokenizer.special.eos)))
