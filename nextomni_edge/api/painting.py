"""A given picture that is drawn again in part: Lumina-DiMOO's inpainting and outpainting."""

from __future__ import annotations

from typing import Final

import numpy as np

from nextomni_edge.api.settings import Request
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.media.painting import covered, middle
from nextomni_edge.tokens.chat import Turn, conversation, respond
from nextomni_edge.tokens.masked import painted
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer

PAINTS: Final = ("inpaint", "outpaint")


def repainted(
    config: ModelConfig, tokenizer: TextTokenizer, turns: list[Turn], request: Request
) -> Sequence:
    """The sequence of a picture with a part to draw: inside the rectangle for `inpaint`, outside of
    it for `outpaint`. The text says what is drawn, and the picture stands in the answer only.

    UsageError: another model, more than one picture, settings that do not go together, or a
    rectangle that leaves nothing to draw or nothing to keep.
    """
    named = [name for name in (*PAINTS, "edit", "size") if name in request.settings]
    name = named[0]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} do not go together: give one of them")
    if tokenizer.template != "lumina" or request.kind != "image":
        raise UsageError(f"{name}: only Lumina-DiMOO draws a picture again in part; leave it out")
    shares = _shares(name, request)
    parts = [part for turn in turns for part in turn.parts]
    pictures = [part for part in parts if part.kind == "image"]
    if len(turns) != 1 or len(pictures) != 1:
        raise UsageError(f"{name}: {len(pictures)} pictures, expected one picture and a text")
    codes, patch = np.asarray(pictures[0].value), config.image.patch
    rows, columns = codes.shape[:2]
    size = (columns * patch, rows * patch)
    inside = covered(middle(size, shares), size, (rows, columns))
    drawn = inside if name == "inpaint" else ~inside
    if drawn.all() or not drawn.any():
        raise UsageError(
            f"{name} {shares[0]:g}x{shares[1]:g}: {int(drawn.sum())} of the picture's"
            f" {drawn.size} codes would be drawn again; give another share of its sides"
        )
    words = Turn(turns[0].role, tuple(part for part in parts if part.kind != "image"))
    said = conversation(tokenizer, [words], "image")
    return painted(respond(said, "image", config, tokenizer, size=size), codes, drawn)


def _shares(name: str, request: Request) -> tuple[float, float]:
    given = tuple(request.settings[name])  # type: ignore[literal-required]
    if len(given) != 2 or not all(0.0 < share <= 1.0 for share in given):
        raise UsageError(f"{name} {given}: expected two shares of the sides, over 0 and at most 1")
    return float(given[0]), float(given[1])
