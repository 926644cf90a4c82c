"""Band-limited resampling by a windowed sinc, as `torchaudio.functional.resample` computes it: what
speech codecs are trained on. In numpy, and its taps in torch too."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
CROSSINGS = 6  # zero crossings of the sinc on either side
ROLL_OFF = 0.99  # of the lower of both Nyquist frequencies
AT_ONCE = 1 << 22  # numbers of windows that are multiplied together


def reduced(source: int, target: int) -> tuple[int, int, int]:
    """Both rates by their common divisor, and how many samples of the source a tap reaches back."""
    common = math.gcd(source, target)
    source, target = source // common, target // common
    return source, target, math.ceil(CROSSINGS * source / (min(source, target) * ROLL_OFF))


def taps(xp: ModuleType, source: int, target: int, **place: Any) -> Any:
    """The taps (target, 2·width + source) float32 of rates as `reduced` gives them: for each of the
    `target` samples that `source` ones become, a Hann-windowed sinc. `xp` is numpy or torch, whose
    arrays are made in this `place`."""
    _, _, width = reduced(source, target)
    cutoff = min(source, target) * ROLL_OFF
    given = xp.arange(-width, width + source, dtype=xp.float32, **place) / source
    wanted = xp.arange(0, -target, -1, dtype=xp.float32, **place) / target
    time = xp.clip((wanted[:, None] + given[None]) * cutoff, -CROSSINGS, CROSSINGS)
    window = xp.cos(time * math.pi / CROSSINGS / 2) ** 2
    angle = time * math.pi
    other = xp.where(angle == 0, xp.ones_like(angle), angle)
    sinc = xp.where(angle == 0, xp.ones_like(angle), xp.sin(other) / other)
    return sinc * (window * (cutoff / source))


def resampled(samples: Float32, source: int, target: int) -> Float32:
    """(samples,) at the rate `source` → (⌈samples·target/source⌉,) at `target`, float32."""
    if source == target:
        return samples
    source, target, width = reduced(source, target)
    kernel = taps(np, source, target).astype(np.float32)
    padded = np.pad(samples.astype(np.float32), (width, width + source))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[1])[::source]
    rows = max(1, AT_ONCE // kernel.shape[1])
    parts = [
        np.ascontiguousarray(windows[start : start + rows]) @ kernel.T
        for start in range(0, len(windows), rows)
    ]
    found: Float32 = np.concatenate(parts).reshape(-1)
    return found[: -(-len(samples) * target // source)]
