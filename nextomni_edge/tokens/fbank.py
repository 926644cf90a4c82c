"""Kaldi's log-mel filter bank in numpy (Povey et al., ASRU 2011), stacked and normalised as
SenseVoice hears it (An et al., arXiv 2407.04051)."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ListenerConfig
from nextomni_edge.config.speech import HEARD_RATE
from nextomni_edge.errors import InputError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

FRAME, HOP, FFT = 400, 160, 512  # samples: 25 ms every 10 ms
LOWEST = 20.0  # Hz, of the first filter; the last one ends at half the rate
PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)
INT16 = 32768.0


@functools.cache
def filters(mels: int) -> Float64:
    """Triangular filters on the scale 1127·ln(1 + f/700), (mels, FFT/2 + 1); the last bin is in
    none of them."""
    mel = 1127.0 * np.log1p(np.arange(FFT // 2 + 1) * (HEARD_RATE / FFT) / 700.0)
    low, high = 1127.0 * np.log1p(np.array([LOWEST, HEARD_RATE / 2]) / 700.0)
    edges = low + np.arange(mels + 2) * (high - low) / (mels + 1)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    slopes = np.minimum((mel - left) / (centre - left), (right - mel) / (right - centre))
    found: Float64 = np.maximum(slopes, 0.0)
    found[:, -1] = 0.0
    return found


def frames(waveform: Float32) -> Float64:
    """Frames (n,400) of a waveform (samples,) in [-1,1] at 16 kHz, on the scale of int16; what is
    behind the last whole one is dropped. InputError: shorter than a frame, or not finite."""
    samples = np.asarray(waveform, dtype=np.float64) * INT16
    if samples.ndim != 1 or len(samples) < FRAME or not np.isfinite(samples).all():
        raise InputError(
            f"audio: found a waveform of shape {samples.shape}, expected one channel of at least"
            f" {FRAME} finite samples at {HEARD_RATE} Hz, which are"
            f" {FRAME / HEARD_RATE * 1000:.0f} ms"
        )
    return np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP].copy()


def log_mel(framed: Float64, mels: int) -> Float64:
    """Log energies (n,mels) of frames (n,400): without their mean, pre-emphasised, in a Hamming
    window."""
    centred = framed - framed.mean(axis=1, keepdims=True)
    before = np.concatenate([centred[:, :1], centred[:, :-1]], axis=1)
    window = 0.54 - 0.46 * np.cos(2.0 * np.pi * np.arange(FRAME) / (FRAME - 1))
    spectrum = np.fft.rfft((centred - PREEMPHASIS * before) * window, FFT, axis=1)
    energies: Float64 = np.log(np.maximum(np.abs(spectrum) ** 2 @ filters(mels).T, FLOOR))
    return energies


def stacked(rows: Float64, config: ListenerConfig) -> Float64:
    """Rows (n,m) as ⌈n / every⌉ rows of `stack` neighbours, (_, stack·m): the first one is repeated
    in front, the last one behind (low frame rate)."""
    stack, every = config.stack, config.every
    count = -(-len(rows) // every)
    padded = np.concatenate([np.repeat(rows[:1], (stack - 1) // 2, axis=0), rows])
    places = np.arange(count)[:, None] * every + np.arange(stack)
    found: Float64 = padded[np.minimum(places, len(padded) - 1)].reshape(count, -1)
    return found


def features(waveform: Float32, config: ListenerConfig, dither: Float64 | None = None) -> Float32:
    """What the listener reads of a waveform (samples,) at 16 kHz: (rows, stack·mels) float32,
    shifted and scaled by the config's means and deviations. `dither` (n,400) is added to the
    frames; without it the result is the same in every call. InputError: as `frames`."""
    framed = frames(waveform)
    rows = stacked(log_mel(framed if dither is None else framed + dither, config.mels), config)
    normal = (rows + np.array(config.shift)) * np.array(config.scale)
    return bfloat16(normal.astype(np.float32)) if config.rounded else normal.astype(np.float32)


def bfloat16(values: Float32) -> Float32:
    """The nearest bfloat16 of each float32, ties to the even one, as float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & 0xFFFF0000
    found: Float32 = rounded.astype(np.uint32).view(np.float32)
    return found
