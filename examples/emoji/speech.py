"""Speech of the concept names: which voices exist, and one fixed-length clip of a name by a voice.

Three engines: `espeak-ng` and `flite` (programs of the same name) and `hibari` (a neural voice, a Python package). A clip is 1.28 s
at 16 kHz: 20,480 samples, 128 frames of 160.
"""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from catalog import DataError
from scipy.signal import resample_poly

RATE = 16_000
SAMPLES = 20_480
LEAD = 640
"""Silence before the word (0.04 s)."""
PEAK = 0.9
FASTER = 1.12
TRIES = 7

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Voice:
    """A speaker and the paces at which it reads every name; `paces` are factors on the engine's usual speed."""

    name: str
    engine: str
    ident: str
    paces: tuple[float, ...]
    pitch: int = 50


def _espeak(ident: str, pitch: int) -> Voice:
    return Voice(f"espeak-{ident}-p{pitch}", "espeak-ng", ident, (0.85, 1.05), pitch)


FLITE_PACES = (0.87, 1.0, 1.15)

VOICES: tuple[Voice, ...] = (
    *(Voice(f"flite-{ident}", "flite", ident, FLITE_PACES) for ident in ("kal", "kal16", "awb", "rms", "slt")),
    Voice("hibari-heart-us", "hibari", "us", (0.85, 1.0, 1.2)),
    Voice("hibari-heart-gb", "hibari", "gb", (0.85, 1.0, 1.2)),
    _espeak("en-us", 50),
    _espeak("en-us", 30),
    _espeak("en-gb", 60),
    _espeak("en-gb-x-rp", 40),
    _espeak("en-us+f2", 50),
    _espeak("en-gb+f4", 45),
    _espeak("en-us+f5", 55),
    _espeak("en-us+m3", 50),
    _espeak("en-gb+m7", 45),
)
"""Voices in the order of the `voice` column."""


def _run(command: list[str]) -> bytes:
    """Run a speech program and return what it wrote; its failure is told in one line."""
    if shutil.which(command[0]) is None:
        raise DataError(f"the program {command[0]} is not installed (Debian package {command[0]})")
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise DataError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()[:200]}")
    return done.stdout


def _espeak_wave(voice: Voice, pace: float, text: str) -> tuple[Wave, int]:
    words = str(round(165 * pace))
    sound = _run(["espeak-ng", "-v", voice.ident, "-s", words, "-p", str(voice.pitch), "--stdout", text])
    wave, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
    return wave, int(rate)


def _flite_wave(voice: Voice, pace: float, text: str) -> tuple[Wave, int]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.wav"
        stretch = f"duration_stretch={1 / pace:.4f}"
        _run(["flite", "-voice", voice.ident, "--setf", stretch, "-t", text, "-o", str(file)])
        wave, rate = soundfile.read(file, dtype="float32")
    return wave, int(rate)


@functools.cache
def _hibari(accent: str) -> Any:
    try:
        from hibari import Hibari
        from hibari.g2p import G2P
    except ImportError:
        raise DataError("the Python package hibari-tts is not installed") from None
    return Hibari(g2p=G2P(british=accent == "gb"))


def _hibari_wave(voice: Voice, pace: float, text: str) -> tuple[Wave, int]:
    engine = _hibari(voice.ident)
    # A fixed seed: the engine's noise component must not change from one run to the next.
    return np.asarray(engine(text, speed=pace, seed=0), np.float32), int(engine.sample_rate)


ENGINES = {"espeak-ng": _espeak_wave, "flite": _flite_wave, "hibari": _hibari_wave}


def trim(wave: Wave, threshold: float = 0.01) -> Wave:
    """Cut silence off both ends of a mono 16 kHz wave (N,), keeping 10 ms before and 30 ms behind the sound."""
    frames = len(wave) // 80
    if frames == 0:
        return wave[:0]
    level = np.sqrt(np.mean(wave[: frames * 80].reshape(frames, 80) ** 2, axis=1))
    loud = np.flatnonzero(level > threshold * level.max()) if level.max() > 0 else np.zeros(0, np.int64)
    if loud.size == 0:
        return wave[:0]
    return wave[max(0, int(loud[0]) * 80 - 160) : (int(loud[-1]) + 1) * 80 + 480]


def place(word: Wave) -> npt.NDArray[np.int16]:
    """Put a trimmed word behind the lead, faded at its ends and peak-normalised: int16 (20480,)."""
    word = word / np.abs(word).max() * np.float32(PEAK)
    fade = min(80, len(word) // 2)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    word[:fade] *= ramp
    word[len(word) - fade :] *= ramp[::-1]
    clip = np.zeros(SAMPLES, np.float32)
    clip[LEAD : LEAD + len(word)] = word
    return np.round(clip * 32767).astype(np.int16)


def speak(voice: Voice, pace: float, text: str) -> npt.NDArray[np.int16]:
    """One clip, int16 (20480,); a name that is too long at this pace is read faster until it fits."""
    for attempt in range(TRIES):
        wave, rate = ENGINES[voice.engine](voice, pace * FASTER**attempt, text)
        common = int(np.gcd(rate, RATE))
        wave = resample_poly(wave.astype(np.float32), RATE // common, rate // common).astype(np.float32)
        word = trim(wave)
        if len(word) == 0:
            raise DataError(f"{voice.name} said nothing for '{text}'")
        if LEAD + len(word) <= SAMPLES:
            return place(word)
    raise DataError(f"'{text}' does not fit {SAMPLES / RATE:.2f} s in the voice {voice.name}; choose a shorter name")
