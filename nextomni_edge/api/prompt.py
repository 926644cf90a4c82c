"""What a person hands over becomes turns of a conversation: one prompt, or a batch of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from nextomni_edge.api.media import Audio, Image, Video
from nextomni_edge.errors import UsageError
from nextomni_edge.media.memory import is_sound
from nextomni_edge.media.parts import Encoder, file_part, text_part
from nextomni_edge.search.update import file_kind
from nextomni_edge.tokens.chat import Part, Turn

Sound = tuple[NDArray[np.floating] | NDArray[np.int16], int]
# One part of a prompt. A string is a text; a path is a file, whose suffix tells the modality.
Item = str | os.PathLike[str] | Image | Audio | Video | PIL.Image.Image | Sound | Part
Prompt = Item | tuple[Item, ...]


def batch_of(given: object) -> list[Prompt] | None:
    """The prompts of a batch, or None for one prompt.

    One part and a tuple of parts are one prompt. A list of texts, of tuples or of lists is a batch;
    a list that mixes texts and media is one prompt. UsageError: an empty list, or media only, which
    may be meant either way.
    """
    if not isinstance(given, list):
        return None
    if not given:
        raise UsageError("an empty list: give a prompt, or a list of prompts")
    whole = [isinstance(item, tuple | list) and not is_sound(item) for item in given]
    if any(whole):
        return [tuple(item) if isinstance(item, list) else item for item in given]
    texts = [isinstance(item, str) for item in given]
    if all(texts):
        return list(given)
    if not any(texts):
        raise UsageError(
            "a list of media may be one prompt or a batch: write a tuple, (a, b), for the parts of"
            " one prompt, or [(a,), (b,)] for a batch"
        )
    return None


def turn_of(encoder: Encoder, prompt: object, trim: bool = False) -> Turn:
    """A prompt as the user's turn, its media encoded.

    InputError: a file or an array that cannot be read. UsageError: nothing given, an empty text, or
    something that is no part of a prompt.
    """
    items = prompt if isinstance(prompt, tuple | list) and not is_sound(prompt) else (prompt,)
    if not items:
        raise UsageError("an empty prompt: give a text or a medium")
    return Turn("user", tuple(part_of(encoder, item, trim) for item in items))


def part_of(encoder: Encoder, item: object, trim: bool = False) -> Part:
    """One part of a prompt. Errors as `turn_of`'s."""
    if isinstance(item, Part):
        return item
    if isinstance(item, str):
        if not item.strip():
            raise UsageError("an empty text: write what the model is to answer")
        return text_part(item)
    if isinstance(item, Image | Audio | Video):
        return item.part(encoder, trim)
    if isinstance(item, PIL.Image.Image):
        return Image(item).part(encoder, trim)
    if isinstance(item, tuple) and is_sound(item):
        return Audio(item[0], int(item[1])).part(encoder, trim)
    if isinstance(item, os.PathLike):
        path = Path(item)
        return file_part(encoder, file_kind(path), path, trim)
    hint = "; an array is a sound as (samples, rate), a picture as Image(array)"
    raise UsageError(
        f"{type(item).__name__} in a prompt: expected a text, a path, Image, Audio, Video or a PIL"
        f" image{hint if isinstance(item, np.ndarray) else ''}"
    )


def listed(items: Sequence[Item]) -> Sequence[Item]:
    """The items. UsageError: a single text, or something else, in place of a list."""
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise UsageError("expected a list of texts and media, such as ['a cat']")
    return items
