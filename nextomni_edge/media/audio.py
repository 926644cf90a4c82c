"""Sounds: any file that soundfile or PyAV decodes, to the mono waveform the audio encoder hears,
and back to a file."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Callable
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.media.image import format_of
from nextomni_edge.media.kinds import open_medium, wrong_kind
from nextomni_edge.modalities.audio import AUDIO
from nextomni_edge.tokens.audio import max_samples
from nextomni_edge.tokens.resample import resampled

Float32 = NDArray[np.float32]

AUDIO_FORMATS = AUDIO.formats
# the rates that MPEG audio layer III has
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MAX_SOURCE_RATE = 384_000
MAX_CHANNELS = 16
# resampling may end a few samples late; that is not a clip that is too long
RESAMPLER_TAIL_SECONDS = 0.005
# nor are the frames that a codec puts before and behind a sound to fill its last one
PADDING_FRAMES = 2
MP3_FRAME = 1152  # samples
# Sizes in a header from here on mean "to the end": the writer could not seek back.
STREAMED = 0x7FFF_0000
_PROMISE = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE
)
_BITS = re.compile(r"^\s*Bit Width\s*:\s*([1-7])\s*$", re.MULTILINE)
CANCELLED = 0.01  # of the channels' power: less is left where they are of opposite phase


def sound_seconds(path: Path) -> float:
    """How long a sound is, by its header; 0 where the header does not say. InputError: no sound."""
    import soundfile

    from nextomni_edge.media.video import open_container

    with open_medium(path) as opened:
        with (
            contextlib.suppress(soundfile.LibsndfileError),
            soundfile.SoundFile(opened.fileno(), closefd=False) as file,
        ):
            if 0 < file.frames < STREAMED:
                return float(file.frames / file.samplerate)
        with open_container(path, opened, "audio") as container:
            if not container.streams.audio:
                raise InputError(f"{path}: {wrong_kind(path, 'audio')}")
            stream = container.streams.audio[0]
            ticks, unit = stream.duration, stream.time_base
            if ticks is None or unit is None:
                ticks, unit = container.duration or 0, Fraction(1, 1_000_000)
            return max(0.0, float(ticks * unit))


def read_audio(
    path: Path,
    config: AudioConfig,
    trim: bool = False,
    span: tuple[float, float] | None = None,
    longest: int | None = None,
) -> Float32:
    """A sound as (samples,) float32 at `config.sample_rate`, one channel (see `mono`). A clip
    longer than the model takes is cut with `trim`, otherwise an InputError, as are files without
    sound, files that were cut off, and samples that are not finite. For a codec, what libsndfile
    reads is resampled as tokens/resample.py does.

    span: from this second to that one. A compressed sound may begin one of its frames early.
    longest: samples of the longest sound without `trim`, where that is more than is heard at once.
    """
    start, limit = 0.0, max_samples(config) if trim or longest is None else longest
    if span is not None:
        start, limit = span[0], min(limit, round((span[1] - span[0]) * config.sample_rate))
    convert = resample if config.codec is None else resampled
    # enough to tell that a clip is too long
    seconds = limit / config.sample_rate + 2 * RESAMPLER_TAIL_SECONDS
    with open_medium(path) as file:
        found = _read_soundfile(path, file, config.sample_rate, seconds, start, convert)
        # a size of 0 in the header is no sound to libsndfile, and "to the end" to FFmpeg
        if found is None or found[0].size == 0:
            found = _read_av(path, file, config.sample_rate, seconds, start)
    waveform, padding = found
    if waveform.size == 0:
        raise InputError(f"{path}: no sound in it")
    if not np.isfinite(waveform).all():
        raise InputError(f"{path}: samples that are not finite numbers")
    most = limit + (RESAMPLER_TAIL_SECONDS + padding) * config.sample_rate
    if len(waveform) > most and not trim:
        raise InputError(
            f"{path}: longer than the model's {limit / config.sample_rate:.2f} s; --trim keeps the"
            " beginning"
        )
    return waveform[:limit]


def _read_soundfile(
    path: Path,
    opened: BufferedReader,
    sample_rate: int,
    seconds: float,
    start: float,
    convert: Callable[[Float32, int, int], Float32],
) -> tuple[Float32, float] | None:
    """At most a little over `seconds` of the file from second `start` on, and how many seconds of
    it may be a codec's padding; None where libsndfile does not know the format. InputError: the
    file is cut off."""
    import soundfile

    try:
        with soundfile.SoundFile(opened.fileno(), closefd=False) as file:
            if file.samplerate > MAX_SOURCE_RATE or file.channels > MAX_CHANNELS:
                raise InputError(
                    f"{path}: {file.channels} channels at {file.samplerate} Hz, refused"
                )
            _check_header(path, file.extra_info)
            padding = PADDING_FRAMES * MP3_FRAME if file.format == "MP3" else 0
            first = file.seek(int(start * file.samplerate)) if start else 0
            wanted = min(file.frames - first, math.ceil(seconds * file.samplerate) + padding)
            samples = file.read(wanted, dtype="float32", always_2d=True)
            if len(samples) < wanted - padding:
                raise InputError(
                    f"{path}: cut off: {file.frames / file.samplerate:.2f} s are promised,"
                    f" {len(samples) / file.samplerate:.2f} s are there"
                )
            heard = convert(mono(samples.T), file.samplerate, sample_rate)
            return heard, padding / file.samplerate
    except soundfile.LibsndfileError as error:
        if "malformed" in str(error):
            raise InputError(f"{path}: damaged or cut off ({error.error_string})") from error
        return None


def _check_header(path: Path, log: str) -> None:
    """InputError: libsndfile's log says of a header that it promises more sound than is there, or
    samples of fewer bits than a byte."""
    for promised, found in ((int(a), int(b)) for a, b in _PROMISE.findall(log)):
        if found < promised < STREAMED:
            raise InputError(
                f"{path}: cut off: its header promises {promised} bytes of sound, {found} are there"
            )
    if bits := _BITS.search(log):
        raise InputError(f"{path}: samples of {bits[1]} bits, expected 8, 16, 24 or 32")


def mono(channels: Float32) -> Float32:
    """(channels, samples) as one channel: the mean, or the first channel where they cancel each
    other, being of opposite phase."""
    mean: Float32 = channels.mean(axis=0)
    if len(channels) > 1 and np.square(mean).mean() < CANCELLED * np.square(channels).mean():
        loudest: Float32 = channels[np.square(channels).mean(axis=1).argmax()]
        return loudest
    return mean


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


def _read_av(
    path: Path, file: BufferedReader, sample_rate: int, seconds: float, start: float
) -> tuple[Float32, float]:
    """At most a little over `seconds` of the first sound track of any container that FFmpeg knows,
    from second `start` on, and how many seconds of it may be a codec's padding. InputError: the
    file is cut off."""
    import av

    from nextomni_edge.media.video import open_container

    # channels stay apart: FFmpeg's own downmix is louder
    resampler = av.AudioResampler(format="fltp", rate=sample_rate)
    parts: list[Float32] = []

    def keep(frame: av.AudioFrame | None) -> None:
        parts.extend(
            part.to_ndarray().astype(np.float32, copy=False) for part in resampler.resample(frame)
        )

    with open_container(path, file, "audio") as container:
        if not container.streams.audio:
            raise InputError(f"{path}: {wrong_kind(path, 'audio')}")
        stream = container.streams.audio[0]
        promised = float((stream.duration or 0) * (stream.time_base or 0)) - start
        if start:
            container.seek(int(start * 1_000_000))
        for frame in container.decode(audio=0):
            if frame.layout.nb_channels > MAX_CHANNELS or frame.sample_rate > MAX_SOURCE_RATE:
                raise InputError(
                    f"{path}: {frame.layout.nb_channels} channels at {frame.sample_rate} Hz,"
                    " refused"
                )
            padding = PADDING_FRAMES * (stream.codec_context.frame_size or 0) / frame.sample_rate
            if start and (frame.time or 0.0) + frame.samples / frame.sample_rate <= start:
                continue  # a container is only searched by its key frames
            keep(frame)
            if sum(part.shape[1] for part in parts) > (seconds + padding) * sample_rate:
                return mono(np.concatenate(parts, axis=1)), padding
        if not parts:
            return np.zeros(0, dtype=np.float32), 0.0
        keep(None)
    heard = mono(np.concatenate(parts, axis=1))
    # an MP3's length is a guess where its first frame does not tell it
    if len(heard) < (min(promised, seconds) - padding) * sample_rate * 0.9 and promised_is_exact(
        container.format.name
    ):
        raise InputError(
            f"{path}: cut off: {promised:.2f} s are promised, {len(heard) / sample_rate:.2f} s are"
            " there"
        )
    return heard, padding


def promised_is_exact(container: str) -> bool:
    """Whether FFmpeg's container of this name counts samples, instead of guessing from bytes."""
    return not {"mp3", "aac", "ac3", "amr"} & set(container.split(","))


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
