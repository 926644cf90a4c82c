"""Files of every modality, as its record in modalities/ reads and writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.media.audio import (
    RESAMPLER_TAIL_SECONDS,
    read_audio,
    sound_seconds,
    write_audio,
)
from nextomni_edge.media.image import read_image, write_image
from nextomni_edge.media.kinds import check_file, wrong_kind
from nextomni_edge.media.video import MAX_WINDOWS, film_windows, read_video, write_video
from nextomni_edge.modalities.modality import Stretch
from nextomni_edge.tokens.audio import Float32, heard, longest_sound, max_samples

MAX_TEXT_BYTES = 1 << 20


def read_text(path: Path) -> str:
    """A UTF-8 file's text, without a byte-order mark. InputError: larger than MAX_TEXT_BYTES, or
    not UTF-8."""
    check_file(path)
    try:
        return read_regular(path, MAX_TEXT_BYTES).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {wrong_kind(path, 'text')} ({error})") from error


def read_text_file(path: Path, config: ModelConfig, trim: bool) -> str:
    """See `read_text`."""
    return read_text(path)


def write_text_file(path: Path, text: str, config: ModelConfig, frames_per_second: float) -> None:
    """The text and a line's end."""
    with atomic_write(path, "w") as file:
        file.write(f"{text}\n")


def read_image_file(path: Path, config: ModelConfig, trim: bool) -> Float32:
    """Pixels (3,size,size) in [-1, 1]."""
    return read_image(path, config.image.size, config.image.fitting)


def write_image_file(
    path: Path, pixels: Float32, config: ModelConfig, frames_per_second: float
) -> None:
    """Pixels (3,height,width) in [-1, 1]."""
    write_image(path, pixels, config.image.truncated)


def read_audio_file(path: Path, config: ModelConfig, trim: bool) -> Float32:
    """What the audio encoder reads: log-mel (n,frames_per_token,mels), or a listener's rows."""
    waveform = read_audio(path, config.audio.heard, trim, longest=longest_sound(config))
    return heard(waveform, config.audio)


def audio_windows(path: Path, config: ModelConfig) -> Iterator[Stretch]:
    """Equal shares of a sound, each at most as long as the model takes, as `read_audio_file` gives
    them. A sound that fits is one whole stretch."""
    heard_by = config.audio.heard
    seconds, longest = sound_seconds(path), max_samples(heard_by) / heard_by.sample_rate
    shares = math.ceil(seconds / (longest + RESAMPLER_TAIL_SECONDS))
    if shares <= 1:
        yield Stretch(None, None, read_audio_file(path, config, trim=True))
        return
    # of more shares than are kept, each is heard by its beginning
    shares = min(shares, MAX_WINDOWS)
    for index in range(shares):
        start, stop = (share * seconds / shares for share in (index, index + 1))
        waveform = read_audio(path, heard_by, trim=True, span=(start, stop))
        yield Stretch(start, stop, heard(waveform, config.audio))


def write_audio_file(
    path: Path, waveform: Float32, config: ModelConfig, frames_per_second: float
) -> None:
    """A waveform (samples,) in [-1, 1] at the config's rate."""
    write_audio(path, waveform, config.audio.sample_rate)


def read_video_file(path: Path, config: ModelConfig, trim: bool) -> Float32:
    """Pixels (frames,3,size,size) in [-1, 1]."""
    return read_video(path, config.image.size, config.image.max_frames)


def video_windows(path: Path, config: ModelConfig) -> Iterator[Stretch]:
    """Equal shares of a film, of about FILM_WINDOW seconds each, as `read_video_file` gives them.
    An animated picture, or a film of little more, is one whole stretch."""
    for start, stop, frames in film_windows(path, config.image.size, config.image.max_frames):
        yield Stretch(start, stop, frames)


def write_video_file(path: Path, frames: Any, config: ModelConfig, rate: float) -> None:
    """Frames (F,3,height,width) in [-1, 1], at `rate` frames a second."""
    write_video(path, frames, rate)
