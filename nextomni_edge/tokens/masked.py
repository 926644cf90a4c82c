"""Prompts of published masked models as their authors build them: LLaDA's and MMaDA's chat, MMaDA's
image prompts, Lumina-DiMOO's sections, and the prompts that guidance compares them with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.spec import Modality
from nextomni_edge.tokens.parts import Part, Turn
from nextomni_edge.tokens.sequence import Ids, Segment, Sequence
from nextomni_edge.tokens.text import ABSENT, TextTokenizer

# ids of a text that MMaDA draws a picture of, the end included: 512 in its release
TEXT_LIMIT: Final = 512
GENERATE: Final = "Generate an image according to the text prompt."
# What Lumina-DiMOO does with a given picture → its words for that.
EDITS: Final[Mapping[str, str]] = {
    "edit": (
        "Generate an image applying the following editing instruction based on the original image."
    ),
    "control": ("Generate an image according to the text prompt and the given control image."),
    "subject": "Generate an image according to the text prompt and the given object image.",
    "style": "Transform the current image into the style of the provided image.",
    "view": "Generate a view-image based on the given image.",
    "dense": "Perform dense prediction on the given images.",
    "other": "Generate an image according to the prompt and image.",
}
ANSWER: Final = (
    "You are a multimodal model that can process both text and images. Answer the following"
    " question based on the provided images. Analyze each image and combine relevant details to"
    " answer."
)


def text(*tokens: int) -> Segment:
    """A given segment of text ids."""
    return Segment("text", np.asarray(tokens, dtype=np.int64))


def conversation(
    tokenizer: TextTokenizer, turns: Iterable[Turn], answer: str, edit: str | None = None
) -> tuple[Segment, ...]:
    """Everything said so far, and the opening of the answer. `edit` names what a given picture is
    for. UsageError: a prompt that the model was not made for."""
    said = list(turns)
    if tokenizer.template == "lumina":
        return _lumina(tokenizer, said, answer, edit)
    if tokenizer.template == "mmada" and answer == "image":
        return _mmada_image(tokenizer, said)
    return _chat(tokenizer, said)


def _chat(tokenizer: TextTokenizer, turns: list[Turn]) -> tuple[Segment, ...]:
    """<bos>, then each message between its header and <|eot_id|>; one newline behind a header for
    MMaDA, two for LLaDA. MMaDA's images stand before the conversation. Dream: ChatML."""
    special, dream = tokenizer.special, tokenizer.template == "dream"
    segments: list[Segment] = []
    ids: list[int] = [] if dream else [special.bos]
    for turn in turns:
        words = "".join(str(part.value) for part in turn.parts if part.kind == "text").strip()
        for part in turn.parts:
            if part.kind != "text":
                segments += shown(tokenizer, part)
        ids += [*headed(tokenizer, turn.role, words), special.im_end]
        if dream:
            ids.extend(tokenizer.encode("\n"))
    ids += headed(tokenizer, "assistant", "")
    task = [text(special.task_seen)] if segments else []
    return (*task, *segments, text(*ids))


def headed(tokenizer: TextTokenizer, role: str, words: str) -> list[int]:
    """A message's ids behind its header, without its end."""
    special = tokenizer.special
    if tokenizer.template == "dream":
        return [special.im_start, *tokenizer.encode(f"{role}\n{words}")]
    between = "\n" if tokenizer.template == "mmada" else "\n\n"
    spoken = tokenizer.encode(f"{between}{words}")
    return [special.im_start, *tokenizer.encode(role), special.head_end, *spoken]


def shown(tokenizer: TextTokenizer, part: Part, frozen: bool = True) -> list[Segment]:
    """An image of codes (h,w,1) between its markers; where rows have a newline, each is a segment
    of its own. UsageError: the model sees no such thing."""
    special = tokenizer.special
    if part.kind != "image" or not special.has("image"):
        raise UsageError(f"{part.kind}: this model's conversations hold no {part.kind}")
    codes, by_rows = np.asarray(part.value), special.newline != ABSENT
    rows: Many[NDArray[Any]] = list(codes) if by_rows else [codes.reshape(-1, 1)]
    found = [text(special.image_start)]
    for row in rows:
        found.append(Segment("image", row, frozen))
        found += [text(special.newline)] if by_rows else []
    return [*found, text(special.image_end)]


def _mmada_image(tokenizer: TextTokenizer, turns: list[Turn]) -> tuple[Segment, ...]:
    """<|t2i|> <bos> text <eos>; a text of more ids than the limit keeps its end. The text is a
    segment of its own, which guidance leaves out. UsageError: anything but one text."""
    special, parts = tokenizer.special, [part for turn in turns for part in turn.parts]
    if len(turns) != 1 or any(part.kind != "text" for part in parts):
        raise UsageError("MMaDA draws a picture of one text: give that only")
    ids = tokenizer.encode("".join(str(part.value) for part in parts))
    opening, closing = text(special.task_image, special.bos), text(special.eos)
    return opening, Segment("text", ids[: TEXT_LIMIT - 2]), closing


def left_padded(
    tokenizer: TextTokenizer, prompt: Ids, limit: int = TEXT_LIMIT
) -> tuple[Ids, NDArray[np.bool_]]:
    """MMaDA's image prompt as its own code feeds it: ids of `limit` + 1 positions, padded on the
    left, and which of them are attended. Rotary positions are relative, so the model computes the
    same without; see tests/published."""
    special, kept = tokenizer.special, prompt
    if len(kept) > limit + 1:
        kept = np.append(kept[:limit], special.eos)
    padding = limit + 1 - len(kept)
    ids = np.concatenate([np.full(padding, special.left_pad), kept])
    return ids, np.arange(limit + 1) >= padding


def _lumina(
    tokenizer: TextTokenizer, turns: list[Turn], answer: str, edit: str | None
) -> tuple[Segment, ...]:
    """<system> words </system> <user> text, images </user> <answer>. UsageError: more than one
    turn, or an `edit` that is none."""
    if len(turns) != 1:
        raise UsageError("Lumina-DiMOO answers one turn: start again for another question")
    special, parts = tokenizer.special, turns[0].parts
    images = [part for part in parts if part.kind != "text"]
    words = "".join(str(part.value) for part in parts if part.kind == "text")
    if edit is not None and (edit not in EDITS or not images or answer == "text"):
        raise UsageError(
            f"edit {edit!r}: expected one of {', '.join(EDITS)}, with a picture given and asked for"
        )
    role = ANSWER if answer == "text" else EDITS[edit or "edit"] if images else GENERATE
    system = [special.system, *tokenizer.encode(role), special.system_end, special.user]
    segments = [text(*system), Segment("text", tokenizer.encode(words))]
    for part in images:
        segments += shown(tokenizer, part)
    return (*segments, text(special.user_end), text(special.answer))


def respond(
    segments: tuple[Segment, ...],
    kind: str,
    config: ModelConfig,
    tokenizer: TextTokenizer,
    length: int,
    size: tuple[int, int] | None = None,
) -> Sequence:
    """
    Append what is to be generated, all masked: `length` tokens of text, or an image of `size`
    (width, height) pixels, by default that of the image to edit, or the config's square.

    UsageError: a size that is no whole number of patches, or that the model does not take.
    """
    special = tokenizer.special
    closing = [text(special.answer_end)] if tokenizer.template == "lumina" else []
    if kind == "text":
        if length < 1:
            raise UsageError(f"a text of {length} tokens: expected at least 1")
        masks = np.full(length, special.mask, dtype=np.int64)
        return Sequence((*segments, Segment("text", masks, frozen=False), *closing))
    if kind != "image" or "image" not in config.modalities:
        answers = " or ".join(config.modalities)
        raise UsageError(f"modality {kind!r}: this model answers in {answers}")
    by_rows = special.newline != ABSENT
    given = _last_image(segments, special.image_start) if by_rows else None
    height, width = _grid(given, config, size, by_rows)
    codes = np.full((height, width, 1), config.image.codebook.entries, dtype=np.int64)
    image = shown(tokenizer, Part("image", codes), frozen=False)
    return Sequence((*segments, *image, *closing))


def _last_image(segments: tuple[Segment, ...], start: int) -> tuple[int, int] | None:
    """(rows, columns) of codes of the last image that is given by rows; None where there is
    none."""
    images: list[list[int]] = []
    for segment in segments:
        if segment.modality == "image":
            images[-1].append(len(segment))
        elif segment.tokens.tolist() == [start]:
            images.append([])
    return (len(images[-1]), images[-1][-1]) if images else None


def _grid(
    given: tuple[int, int] | None,
    config: ModelConfig,
    size: tuple[int, int] | None,
    by_rows: bool,
) -> tuple[int, int]:
    """(rows, columns) of codes of the image to generate: by default those `given`. A model whose
    images have newlines between their rows draws any size."""
    image, patch = config.image, config.image.patch
    if size is None:
        return given or (image.grid, image.grid)
    width, height = size
    if width % patch or height % patch or min(size) < patch:
        near = " x ".join(str(max(patch, round(side / patch) * patch)) for side in size)
        raise UsageError(
            f"a picture of {width} x {height} pixels: sides are multiples of {patch}, such as"
            f" {near}"
        )
    if not by_rows and size != (image.size, image.size):
        raise UsageError(
            f"a picture of {width} x {height} pixels: this model draws {image.size} x {image.size}"
        )
    return height // patch, width // patch


def painted(sequence: Sequence, codes: NDArray[np.int64], masked: NDArray[np.bool_]) -> Sequence:
    """The sequence whose generated image holds the codes (h,w,1) where they are not `masked`
    (h,w): inpainting, outpainting and extrapolation generate the rest of a picture."""
    places = sequence.generated()
    entries = [sequence.segments[place].tokens for place in places]
    known = codes.reshape(-1, 1)[: sum(map(len, entries))]
    start = np.concatenate(entries)
    filled = np.where(masked.reshape(-1, 1), start, known)
    for place, part in zip(
        places, np.split(filled, np.cumsum([*map(len, entries)])[:-1]), strict=True
    ):
        sequence = sequence.with_tokens(place, part)
    return sequence


def unconditional(
    sequence: Sequence, modality: Modality, tokenizer: TextTokenizer, entries: int
) -> list[Sequence]:
    """
    The sequences without a condition that guidance compares with, one for each of its scales.

    Text: everything given becomes the mask, at the same length. MMaDA's image: an empty text.
    Lumina-DiMOO's: <uncondition> in place of the text, and where an image is edited also the text
    without that image.
    """
    segments, special = sequence.segments, tokenizer.special
    if modality == "text":
        return [Sequence(tuple(_masked(segment, special.mask, entries) for segment in segments))]
    words = 1  # where both templates have the text
    if tokenizer.template == "mmada":
        return [Sequence((*segments[:words], *segments[words + 1 :]))]
    dropped = Sequence((*segments[:words], text(special.dropped), *segments[words + 1 :]))
    end = next(
        at for at, segment in enumerate(segments)
        if segment.modality == "text" and segment.tokens.tolist() == [special.user_end]
    )  # fmt: skip
    if end == words + 1:
        return [dropped]
    return [dropped, Sequence((*segments[: words + 1], *segments[end:]))]


def _masked(segment: Segment, mask: int, entries: int) -> Segment:
    if not segment.frozen:
        return segment
    symbol = mask if segment.modality == "text" else entries
    return dataclasses.replace(segment, tokens=np.full_like(segment.tokens, symbol))
