"""Augmentation behind the log-mel, behind the encoder and over drawings, for speakers, codecs and
artists that training never meets. No torch in here."""

from __future__ import annotations

import numpy as np
from catalog import DataError
from poses import Floats, Ints

TRACT = (0.86, 1.16)
COLOUR = 0.15
FLOOR = 2.0
"""The log-mel ends this far under its maximum: 8 decades, a quarter of one to the unit (Whisper's
scaling)."""
MISHEARD = 0.12
COLOURS = {
    "red": (0.85, 0.1, 0.1), "blue": (0.1, 0.25, 0.85), "green": (0.1, 0.6, 0.2),
    "yellow": (0.95, 0.75, 0.05), "purple": (0.55, 0.15, 0.7),
}  # fmt: skip
LIGHTNESS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the lightness of a pixel (ITU-R BT.601)."""
RESTYLED = 0.6
"""Share of drawings that `restyled` changes at all."""
CHANGE = 0.4
"""Chance of each of its changes in a drawing that it changes."""


def another_speaker(
    mels: Floats,
    rng: np.random.Generator,
    tract: tuple[float, float] = TRACT,
    colour: float = COLOUR,
) -> Floats:
    """Log-mel (B,N,F,M) as from other vocal tracts and rooms, same shape.

    `tract`: range of the factor on the frequency axis, which moves the formants and leaves pace and
    melody (Jaitly and Hinton, "Vocal tract length perturbation", 2013); on the mel axis the factor
    is applied to the bin. `colour`: standard deviation of a smooth equaliser curve in log-mel units
    (0.25 is 10 dB), which leaves silence silent.
    """
    count, bins = len(mels), mels.shape[-1]
    frames = mels.reshape(count, -1, bins)
    at = np.clip(np.arange(bins) * rng.uniform(*tract, (count, 1)), 0, bins - 1.001).astype(
        np.float32
    )
    low = at.astype(np.int64)[:, None]
    share = (at - np.floor(at))[:, None]
    warped = (
        np.take_along_axis(frames, low, 2) * (1 - share)
        + np.take_along_axis(frames, low + 1, 2) * share
    )
    waves = np.cos(np.pi * np.arange(1, 4)[:, None] * (np.arange(bins) + 0.5) / bins)
    curve = (rng.normal(0.0, colour, (count, 3)) @ waves)[:, None].astype(np.float32)
    ground = mels.max(axis=(1, 2, 3))[:, None, None] - np.float32(FLOOR)
    loudness = np.clip((warped - ground) / np.float32(0.25), 0, 1)
    heard: Floats = (
        np.maximum(warped + curve * loudness, ground).astype(np.float32).reshape(mels.shape)
    )
    return heard


def misheard(codes: Ints, entries: int, rng: np.random.Generator, most: float = MISHEARD) -> Ints:
    """Sub-codes (B,N,K) of a condition, a share of them drawn anew; the share itself is uniform in
    [0, most] for each sample."""
    wrong = rng.random(codes.shape) < rng.uniform(0, most, (len(codes), 1, 1))
    return np.where(wrong, rng.integers(0, entries, codes.shape), codes)


def coloured(pictures: Floats, colour: str) -> Floats:
    """Pictures (B,3,S,S) in [0,1] in tones of one of COLOURS: black becomes the colour, white stays
    white."""
    if colour not in COLOURS:
        raise DataError(f"unknown colour '{colour}'; there are: {', '.join(COLOURS)}")
    ink = 1 - np.asarray(COLOURS[colour], np.float32)[:, None, None]
    found: Floats = 1 - (1 - _grey(pictures[:, None])[:, 0]) * ink
    return found


def restyled(pictures: Floats, rng: np.random.Generator) -> Floats:
    """Drawings (B,F,3,S,S) in [0,1] on white as another artist might draw them, same shape.

    A drawing's F frames are changed alike. The changes are another palette, fewer or other tones,
    shading, outlines, thicker or thinner lines, and a coloured ground.
    """
    changed = pictures
    for change in (_palette, _tones, _shading, _lines, _outlines, _ground):
        chosen = rng.random(len(pictures)) < CHANGE
        changed = np.where(chosen[:, None, None, None, None], change(changed, rng), changed)
    untouched = rng.random(len(pictures)) >= RESTYLED
    kept = np.where(untouched[:, None, None, None, None], pictures, changed)
    found: Floats = np.clip(kept, 0, 1).astype(np.float32)
    return found


def _knob(
    rng: np.random.Generator, low: float, high: float, count: int, channels: int = 1
) -> Floats:
    """A number for each drawing, to broadcast over its frames and pixels."""
    return rng.uniform(low, high, (count, 1, channels, 1, 1)).astype(np.float32)


def _grey(pictures: Floats) -> Floats:
    grey: Floats = np.einsum("bfchw,c->bfhw", pictures, np.asarray(LIGHTNESS, np.float32))[
        :, :, None
    ]
    return grey


def _palette(pictures: Floats, rng: np.random.Generator) -> Floats:
    """Hues turned about the grey axis by any angle, and less or more colourful."""
    turn = rng.uniform(-np.pi, np.pi, len(pictures)).astype(np.float32)
    cross = np.asarray(((0, -1, 1), (1, 0, -1), (-1, 1, 0)), np.float32) / np.sqrt(np.float32(3))
    # Rodrigues' rotation about (1,1,1)
    matrix = (
        np.cos(turn)[:, None, None] * np.eye(3, dtype=np.float32)
        + np.sin(turn)[:, None, None] * cross
        + (1 - np.cos(turn))[:, None, None] / np.float32(3)
    )
    turned = np.einsum("bij,bfjhw->bfihw", matrix, pictures)
    grey = _grey(turned)
    found: Floats = grey + (turned - grey) * _knob(rng, 0.0, 1.4, len(pictures))
    return np.clip(found, 0, 1)


def _tones(pictures: Floats, rng: np.random.Generator) -> Floats:
    """Flat: a few levels a channel. The levels keep white white."""
    levels = rng.integers(2, 6, len(pictures))[:, None, None, None, None].astype(np.float32)
    found: Floats = np.round(pictures ** _knob(rng, 0.6, 1.6, len(pictures)) * levels) / levels
    return found


def _shading(pictures: Floats, rng: np.random.Generator) -> Floats:
    """A slope of light over the ink, in any direction."""
    side = pictures.shape[-1]
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi, (len(pictures), 1, 1))
    slope = np.cos(angle) * axis[None, None, :] + np.sin(angle) * axis[None, :, None]
    light = 1 + _knob(rng, 0.1, 0.5, len(pictures)) * slope[:, None, None].astype(np.float32)
    found: Floats = np.clip(1 - (1 - pictures) * light, 0, 1)
    return found


def _lines(pictures: Floats, rng: np.random.Generator) -> Floats:
    """Every dark stroke one pixel thicker or thinner."""
    around = _neighbours(pictures)
    thicker = (rng.random(len(pictures)) < 0.5)[:, None, None, None, None]
    found: Floats = np.where(thicker, around.min(axis=0), around.max(axis=0))
    share = _knob(rng, 0.3, 1.0, len(pictures))
    return pictures + (found - pictures) * share


def _outlines(pictures: Floats, rng: np.random.Generator) -> Floats:
    """Edges drawn as dark lines over the drawing, over a paler one, or over white."""
    grey = _neighbours(_grey(pictures))
    edges = np.clip((grey.max(axis=0) - grey.min(axis=0)) * 1.5, 0, 1)
    paler = rng.choice((0.0, 0.0, 0.5, 1.0), len(pictures))[:, None, None, None, None]
    fill = pictures + (1 - pictures) * paler.astype(np.float32)
    found: Floats = fill * (1 - edges * _knob(rng, 0.5, 1.0, len(pictures)))
    return found


def _ground(pictures: Floats, rng: np.random.Generator) -> Floats:
    """White paper of another colour."""
    found: Floats = pictures * _knob(rng, 0.6, 1.0, len(pictures), 3)
    return found


def _neighbours(pictures: Floats) -> Floats:
    """Each pixel and the four next to it, stacked: (5,B,F,C,S,S)."""
    padded = np.pad(pictures, ((0, 0),) * 3 + ((1, 1), (1, 1)), mode="edge")
    shifts = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    side = pictures.shape[-1]
    return np.stack([padded[..., y : y + side, x : x + side] for y, x in shifts])
