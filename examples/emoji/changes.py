"""Whether a second turn changed a picture as it was asked to: no judge that is trained, but the
picture itself, changed by rule.

The rules that made the training pairs are applied to what the model drew first. Its second answer
is right where the asked change of its own first picture is nearer than every other change of that
picture, and nearer than the same change of every other first picture.
"""

from __future__ import annotations

import numpy as np
from augment import COLOURS, coloured
from dataset import DRAWN, SAMPLES, Emoji
from poses import MOTIONS, SIZES, Floats
from prompts import FRAMES, make_it, now

UNCHANGED = "unchanged"


def as_drawings(pixels: Floats, concepts: list[str]) -> Emoji:
    """Pictures (N,3,S,S) in [-1,1], one of each concept, as drawings that can be changed."""
    count, side = len(pixels), pixels.shape[-1]
    levels = np.round(np.clip(pixels / 2 + 0.5, 0, 1) * 255).astype(np.uint8)
    square = np.moveaxis(levels.repeat(DRAWN // side, -1).repeat(DRAWN // side, -2), 1, -1)
    rgba = np.concatenate([square, np.full((count, DRAWN, DRAWN, 1), 255, np.uint8)], -1)
    numbers, none = np.arange(count), np.zeros(0, np.int64)
    return Emoji(
        {"rgba": rgba, "concept": numbers, "artist": 0 * numbers, "heldout": 0 * numbers},
        {
            "waveform": np.zeros((0, SAMPLES), np.int16),
            "concept": none,
            "voice": none,
            "heldout": none,
        },
        {"concepts": concepts, "artists": [""], "voices": []},
    )


def changed_pictures(drawn: Emoji, size: int) -> dict[str, Floats]:
    """Every change of a picture by its prompt: (N,3,size,size) in [0,1]."""
    rows = np.arange(len(drawn.drawing_concept))
    still = drawn.pictures(rows, size=size)
    return {
        UNCHANGED: still,
        **{now(word): drawn.scaled(rows, factor, size) for word, factor in SIZES.items()},
        **{make_it(colour): coloured(still, colour) for colour in COLOURS},
    }


def changed_films(drawn: Emoji, size: int) -> dict[str, Floats]:
    """Every motion of a picture by its prompt: (N,FRAMES,3,size,size) in [0,1]."""
    rows = np.arange(len(drawn.drawing_concept))
    still = drawn.pictures(rows, size=size)[:, None].repeat(FRAMES, axis=1)
    moved = {now(kind): drawn.motion(rows, kind, FRAMES, size) for kind in MOTIONS}
    return {UNCHANGED: still, **moved}


def told(
    answers: Floats, asked: list[str], names: list[str], candidates: dict[str, Floats]
) -> list[str]:
    """What each answer, in [0,1], is nearest to, as "NAME, CHANGE"; `candidates` hold the changes
    of all N first pictures."""

    def distance(answer: Floats, others: Floats) -> Floats:
        found: Floats = np.square(others - answer).reshape(len(others), -1).mean(axis=1)
        return found

    prompts, said = list(candidates), []
    for index, (answer, prompt) in enumerate(zip(answers, asked, strict=True)):
        own = np.stack([candidates[change][index] for change in prompts])
        change = prompts[int(distance(answer, own).argmin())]
        thing = names[int(distance(answer, candidates[prompt]).argmin())]
        said.append(f"{thing}, {change}")
    return said
