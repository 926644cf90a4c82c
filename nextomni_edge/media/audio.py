"""Sounds: any file that soundfile or PyAV decodes, to the mono waveform the audio encoder hears,
and back to a file."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.media.image import format_of
from nextomni_edge.media.kinds import check_file, wrong_kind
from nextomni_edge.modalities.audio import AUDIO

Float32 = NDArray[np.float32]

AUDIO_FORMATS = AUDIO.formats
# the rates that MPEG audio layer III has
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MAX_SOURCE_RATE = 384_000
MAX_CHANNELS = 16
# resampling may end a few samples late; that is not a clip that is too long
RESAMPLER_TAIL_SECONDS = 0.005


def max_samples(config: AudioConfig) -> int:
    """Samples of the longest clip that the model takes."""
    return config.max_positions * config.hop * config.frames_per_token


def read_audio(path: Path, config: AudioConfig, trim: bool = False) -> Float32:
    """A sound as (samples,) float32 at `config.sample_rate`, channels averaged. A clip longer than
    the model takes is cut with `trim`, otherwise an InputError, as are files without sound and
    samples that are not finite."""
    check_file(path)
    limit = max_samples(config)
    # enough to tell that a clip is too long
    seconds = limit / config.sample_rate + 2 * RESAMPLER_TAIL_SECONDS
    waveform = _read_soundfile(path, config.sample_rate, seconds)
    if waveform is None:
        waveform = _read_av(path, config.sample_rate, seconds)
    if waveform.size == 0:
        raise InputError(f"{path}: no sound in it")
    if not np.isfinite(waveform).all():
        raise InputError(f"{path}: samples that are not finite numbers")
    if len(waveform) > limit + RESAMPLER_TAIL_SECONDS * config.sample_rate and not trim:
        raise InputError(
            f"{path}: longer than the model's {limit / config.sample_rate:.2f} s; --trim keeps the"
            " beginning"
        )
    return waveform[:limit]


def _read_soundfile(path: Path, sample_rate: int, seconds: float) -> Float32 | None:
    """At most `seconds` of the file, or None where libsndfile does not know the format."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            if file.samplerate > MAX_SOURCE_RATE or file.channels > MAX_CHANNELS:
                raise InputError(
                    f"{path}: {file.channels} channels at {file.samplerate} Hz, refused"
                )
            samples = file.read(
                math.ceil(seconds * file.samplerate), dtype="float32", always_2d=True
            )
            return resample(samples.mean(axis=1), file.samplerate, sample_rate)
    except soundfile.LibsndfileError:
        return None


def resample(samples: Float32, source_rate: int, sample_rate: int) -> Float32:
    """Band-limited resampling of one channel by libswresample; no change at equal rates."""
    if source_rate == sample_rate or samples.size == 0:
        return samples
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=sample_rate)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples[None]), format="flt", layout="mono"
    )
    frame.sample_rate = source_rate
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray().reshape(-1) for part in frames]).astype(np.float32)


def _read_av(path: Path, sample_rate: int, seconds: float) -> Float32:
    """At most a little over `seconds` of the first sound track of any container that FFmpeg
    knows."""
    import av

    from nextomni_edge.media.video import open_container

    # channels stay apart: FFmpeg's own downmix is louder
    resampler = av.AudioResampler(format="fltp", rate=sample_rate)
    parts: list[Float32] = []

    def keep(frame: av.AudioFrame | None) -> None:
        parts.extend(part.to_ndarray().mean(axis=0) for part in resampler.resample(frame))

    with open_container(path, "audio") as container:
        if not container.streams.audio:
            raise InputError(f"{path}: {wrong_kind(path, 'audio')}")
        for frame in container.decode(audio=0):
            keep(frame)
            if sum(map(len, parts)) > seconds * sample_rate:
                return np.concatenate(parts)
        if parts:
            keep(None)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def write_audio(path: Path, waveform: Float32, sample_rate: int) -> None:
    """Write (samples,) in [-1, 1], values beyond clipped; the suffix chooses the format.
    UsageError: an unknown suffix."""
    import soundfile

    name = format_of(path, AUDIO_FORMATS)
    if name == "MP3" and sample_rate not in MP3_RATES:
        waveform, sample_rate = resample(waveform, sample_rate, MP3_RATES[-1]), MP3_RATES[-1]
    buffer = io.BytesIO()
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(name, "PCM_16")
    soundfile.write(buffer, np.clip(waveform, -1.0, 1.0), sample_rate, format=name, subtype=subtype)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
