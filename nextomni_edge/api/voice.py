"""The voice that a text is said in: a clip of it as the model hears it, and what the clip says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.media.audio import read_audio
from nextomni_edge.media.memory import given_audio
from nextomni_edge.media.parts import Encoder
from nextomni_edge.media.silence import LEAST_LOUDNESS, loudness, without_silence
from nextomni_edge.tokens.audio import codec_tokens
from nextomni_edge.tokens.omnivoice import Voice
from nextomni_edge.tokens.sentences import ended

Float32 = NDArray[np.float32]
# milliseconds of silence that a clip keeps: in its middle, before and behind it
KEPT: Final = (200, 100, 200)


def given_voice(encoder: Encoder, settings: Mapping[str, Any]) -> Voice | None:
    """The voice that the settings name, or None. UsageError: a clip without its text, or a text
    without a clip. InputError: a clip that cannot be read, is silent, too short or too long."""
    clip, text = settings.get("voice"), settings.get("voice_text")
    if clip is None:
        if text is not None:
            raise UsageError("voice_text says what a clip says: give the clip too, as voice")
        return None
    if text is None or not str(text).strip():
        raise UsageError("a voice needs voice_text, what its clip says")
    name, sound = _read(clip, encoder.config.audio)
    before = loudness(sound)
    codes = encoder.encode("audio", _heard(name, sound, before, encoder.config.audio))
    return Voice(codes.astype(np.int64), ended(str(text)), before)


def _read(clip: Any, config: AudioConfig) -> tuple[str, Float32]:
    """(name for sentences, samples at the model's rate)."""
    if isinstance(clip, str | os.PathLike):
        return str(clip), read_audio(Path(clip), config)
    match clip:
        case (np.ndarray() as samples, int() | np.integer() as rate):
            return "the voice", given_audio(samples, int(rate), config)
    raise UsageError(f"voice of {type(clip).__name__}: expected a path, or samples with their rate")


def _heard(name: str, sound: Float32, before: float, config: AudioConfig) -> Float32:
    """The samples (n,token) that the codec reads: as loud as the model is made for, without long
    silences, in whole tokens. InputError: nothing is left."""
    if 0 < before < LEAST_LOUDNESS:
        sound = sound * LEAST_LOUDNESS / before
    kept = without_silence(sound, config.sample_rate, *KEPT)
    token = config.hop * config.frames_per_token
    if len(kept) < token:
        what = f"{len(kept) / config.sample_rate:.3f} s of sound" if len(kept) else "only silence"
        raise InputError(
            f"{name}: {what} in it, expected at least {token / config.sample_rate:.3f} s of a voice"
        )
    return codec_tokens(kept, config)
