"""Augmentation behind the log-mel and behind the encoder, for speakers and codecs that training
never hears. No torch in here."""

from __future__ import annotations

import numpy as np
from dataset import Floats, Ints

TRACT = (0.86, 1.16)
COLOUR = 0.15
FLOOR = 2.0
"""The log-mel ends this far under its maximum: 8 decades, a quarter of one to the unit (Whisper's
scaling)."""
MISHEARD = 0.12


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
