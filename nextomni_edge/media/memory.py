"""Media that a program hands over in memory: pictures, samples and frames become the arrays that
the encoders take, by the same rules as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextomni_edge.config import AudioConfig, Fitting, ImageConfig
from nextomni_edge.errors import InputError
from nextomni_edge.media.audio import MAX_CHANNELS, MAX_SOURCE_RATE, resample
from nextomni_edge.media.image import check_pixels, fit
from nextomni_edge.media.video import sampled
from nextomni_edge.tokens.audio import max_samples
from nextomni_edge.tokens.resample import resampled

Float32 = NDArray[np.float32]
Picture = Image.Image | NDArray[np.uint8]


def is_sound(given: object) -> bool:
    """Whether it is a pair of samples and their rate."""
    match given:
        case (np.ndarray(), int() | np.integer()):
            return isinstance(given, tuple)
    return False


def given_image(picture: Picture, config: ImageConfig) -> Float32:
    """A PIL image, or uint8 (height,width) or (height,width,3 or 4), as pixels (3,S,S) in [-1,1].
    InputError: another array, or a picture without pixels."""
    return _fitted(picture, config.size, config.fitting)


def given_video(frames: Sequence[Picture], config: ImageConfig) -> Float32:
    """Up to `max_frames` of the frames, uniformly spaced, (frames,3,S,S). InputError: no frames, or
    one that is no picture."""
    if not len(frames):
        raise InputError("a video without frames; give at least one")
    chosen = sampled(len(frames), config.max_frames)
    return np.stack([_fitted(frames[index], config.size) for index in chosen])


def given_audio(
    samples: NDArray[Any],
    rate: int,
    config: AudioConfig,
    trim: bool = False,
    longest: int | None = None,
) -> Float32:
    """(samples,) or (samples,channels), floats in [-1,1] or int16, at `rate` Hz, as a waveform at
    the config's rate.

    `longest` as `read_audio`'s. InputError: another array, a rate that no sound has, samples that
    are not finite, or more of them than the model takes without `trim`.
    """
    channels = 1 if samples.ndim == 1 else samples.shape[-1]
    whole = samples.dtype == np.int16
    if samples.ndim not in (1, 2) or not (whole or samples.dtype.kind == "f"):
        raise InputError(
            f"a sound of {samples.dtype} {samples.shape}: expected floats in [-1, 1] or int16, of"
            " shape (samples,) or (samples, channels)"
        )
    if not 0 < rate <= MAX_SOURCE_RATE or not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"a sound of {channels} channels at {rate} Hz, refused")
    limit = max_samples(config) if trim or longest is None else longest
    most = limit / config.sample_rate
    if len(samples) > most * rate and not trim:
        raise InputError(
            f"a sound of {len(samples) / rate:.2f} s: longer than the model's {most:.2f} s; trim"
            " keeps the beginning"
        )
    kept = samples[: int(most * rate) + rate].astype(np.float32) / np.float32(32768 if whole else 1)
    if not kept.size:
        raise InputError("a sound without samples")
    if not np.isfinite(kept).all():
        raise InputError("a sound with samples that are not finite numbers")
    mono = kept if kept.ndim == 1 else kept.mean(axis=1)
    convert = resample if config.codec is None else resampled
    return convert(mono, rate, config.sample_rate)[:limit]


def _fitted(picture: Picture, size: int, fitting: Fitting = "white") -> Float32:
    opened = _opened(picture)
    try:
        return fit(opened, size, fitting)
    # Pillow's own types for a lazily opened file that is damaged
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"a picture: unreadable ({error})") from error


def _opened(picture: Picture) -> Image.Image:
    if not isinstance(picture, Image.Image):
        shape = picture.shape
        rgb = len(shape) == 3 and shape[2] in (3, 4)
        if picture.dtype != np.uint8 or not (len(shape) == 2 or rgb) or 0 in shape:
            raise InputError(
                f"a picture of {picture.dtype} {shape}: expected uint8 of shape (height, width) or"
                " (height, width, 3 or 4)"
            )
        picture = Image.fromarray(picture)
    if 0 in picture.size:
        raise InputError(f"a picture of {picture.width}x{picture.height}: no pixels in it")
    check_pixels(Path("a picture"), *picture.size)
    return picture
