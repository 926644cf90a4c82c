"""Whisper's log-mel spectrogram in numpy: the audio encoder's input, on a device without
PyTorch."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import AudioConfig, ModelConfig, SpeechConfig
from nextomni_edge.errors import InputError
from nextomni_edge.tokens import fbank

Float32 = NDArray[np.float32]


def _hertz_to_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    logarithmic = 15.0 + np.log(np.maximum(hertz, 1e-10) / 1000.0) * (27.0 / np.log(6.4))
    return np.where(hertz >= 1000.0, logarithmic, hertz * 3.0 / 200.0)


def _mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(
        mel >= 15.0, 1000.0 * np.exp((mel - 15.0) * (np.log(6.4) / 27.0)), mel * 200.0 / 3.0
    )


@functools.cache
def mel_filters(sample_rate: int, n_fft: int, mels: int) -> Float32:
    """Triangular filters of equal area (Slaney), (mels, n_fft/2+1) float32."""
    frequencies = np.linspace(0.0, sample_rate / 2.0, n_fft // 2 + 1)
    edges = _mel_to_hertz(
        np.linspace(0.0, float(_hertz_to_mel(np.array(sample_rate / 2.0))), mels + 2)
    )
    widths = np.diff(edges)
    slopes = edges[:, None] - frequencies
    triangles = np.maximum(
        0.0, np.minimum(-slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None])
    )
    filters: Float32 = (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)
    return filters


def log_mel(waveform: Float32, config: AudioConfig) -> Float32:
    """Log-mel of a mono waveform (samples,) at `config.sample_rate`, cut into tokens: (length,
    frames_per_token, mels) float32.

    Power spectrum of a periodic Hann window with reflected borders, log10 floored at 1e-10 and at 8
    under the clip's maximum, then (x + 4) / 4 (Radford et al., arXiv 2212.04356). Silence pads the
    waveform to a whole token. InputError: not one-dimensional, empty, not finite, or longer than
    `max_seconds`.
    """
    samples = check_waveform(waveform, config)
    token = config.hop * config.frames_per_token
    samples = np.pad(samples, (0, -len(samples) % token))
    half = config.n_fft // 2
    padded = np.pad(samples, half, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop][
        : len(samples) // config.hop
    ]
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(config.n_fft) / config.n_fft)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    logarithm = np.log10(
        np.maximum(power @ mel_filters(config.sample_rate, config.n_fft, config.mels).T, 1e-10)
    )
    scaled = (np.maximum(logarithm, logarithm.max() - 8.0) + 4.0) / 4.0
    tokens: Float32 = scaled.astype(np.float32).reshape(-1, config.frames_per_token, config.mels)
    return tokens


def max_samples(config: AudioConfig) -> int:
    """The number of samples in the longest sound that the model hears at once."""
    return config.max_positions * config.hop * config.frames_per_token


def longest_sound(config: ModelConfig) -> int:
    """The number of samples, at the heard rate, in the longest sound of a prompt. Where sounds are
    heard in chunks, no prompt has room for more than the backbone's `max_positions` tokens."""
    audio = config.audio
    if not audio.hears_log_mel:
        return max_samples(audio.heard)
    token = audio.hop * audio.frames_per_token
    return max(max_samples(audio), config.backbone.max_positions * token)


def heard(waveform: Float32, config: AudioConfig) -> Float32:
    """What a model's audio encoder reads of a waveform (samples,) at `config.heard.sample_rate`:
    `log_mel`, the rows (n,row_size) of a listener, or the samples (n,token) of a codec's whole
    tokens. InputError: as `log_mel`, or under 25 ms or a token.

    A sound that is longer than `max_seconds` is cut into chunks (METHOD 1), whose log-mel follow
    each other."""
    if config.codec is not None:
        return codec_tokens(waveform, config)
    if config.speech is None:
        most = max_samples(config) if waveform.ndim == 1 else len(waveform)
        starts = range(0, max(1, len(waveform)), max(1, most))
        return np.concatenate([log_mel(waveform[i : i + most], config) for i in starts])
    samples = check_waveform(waveform, config.heard).astype(np.float32)
    return fbank.features(samples, config.speech.listener)


def codec_tokens(waveform: Float32, config: AudioConfig) -> Float32:
    """The samples (n,token) of a codec's whole tokens; what is left over is cut off. InputError: as
    `log_mel`, or less than one token."""
    token = config.hop * config.frames_per_token
    samples = check_waveform(waveform, config).astype(np.float32)
    if len(samples) < token:
        raise InputError(
            f"audio: a sound of {len(samples) / config.sample_rate:.3f} s, expected at least"
            f" {token / config.sample_rate:.3f} s"
        )
    return samples[: len(samples) // token * token].reshape(-1, token)


def tokenizer_pieces(
    waveform: Float32, config: AudioConfig, speech: SpeechConfig
) -> list[tuple[Float32, NDArray[np.bool_]]]:
    """The log-mel (n,2·pool,mels) of every piece of a sound that a speech tokenizer takes at once,
    30 s in the release, and which of its rows (n,pool) are sound. InputError: as `log_mel`."""
    given, tokenizer = config.heard, speech.tokenizer
    samples = check_waveform(waveform, given).astype(np.float32)
    most = tokenizer.positions * 2 * given.hop
    found = []
    for start in range(0, len(samples), most):
        piece = samples[start : start + most]
        mel = log_mel(piece, given)
        rows = np.arange(len(mel) * tokenizer.pool).reshape(len(mel), tokenizer.pool)
        found.append((mel, 2 * rows < -(-len(piece) // given.hop)))
    return found


def check_waveform(waveform: Float32, config: AudioConfig) -> NDArray[np.float64]:
    """The waveform as float64. InputError: as `log_mel`."""
    samples = np.asarray(waveform, dtype=np.float64)
    if samples.ndim != 1 or samples.size == 0:
        raise InputError(
            f"audio: found a waveform of shape {samples.shape}, expected one channel with at least"
            " one sample"
        )
    if not np.isfinite(samples).all():
        raise InputError("audio: the waveform has values that are not finite")
    limit = max_samples(config)
    if samples.size > limit:
        found = samples.size / config.sample_rate
        raise InputError(
            f"audio: {found:.2f} s is longer than the model's {limit / config.sample_rate:.2f} s;"
            " cut it first"
        )
    return samples
