"""Speech of the concept names: which voices exist, and one fixed-length clip of a name by a voice.

Engines: `espeak-ng`, `flite` and `festival` (programs of the same name) and `hibari` (a neural
voice, a Python package). A clip is 1.28 s at 16 kHz: 20,480 samples, 128 frames of 160.
"""

from __future__ import annotations

import functools
import io
import json
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
    """A speaker and the paces at which it reads every name.

    `paces` and `pitch` are factors on the engine's usual ones; `formant` scales the vocal tract's
    resonances (hibari alone).
    """

    name: str
    engine: str
    ident: str
    paces: tuple[float, ...]
    pitch: float = 1.0
    formant: float = 1.0


def _espeak(ident: str, pitch: int) -> Voice:
    return Voice(f"espeak-{ident}-p{pitch}", "espeak-ng", ident, (0.85, 1.05), pitch / 50)


def _relative(ident: str, pace: float, pitch: float, formant: float) -> Voice:
    """A made-up relative of the neural voice: other larynx, other vocal tract. Its only natural
    voice is worth several."""
    name = f"hibari-heart-{ident}-p{round(100 * pitch)}-f{round(100 * formant)}"
    return Voice(name, "hibari", ident, (pace,), pitch, formant)


FLITE_PACES = (0.87, 1.0, 1.15)

VOICES: tuple[Voice, ...] = (
    *(
        Voice(f"flite-{ident}", "flite", ident, FLITE_PACES)
        for ident in ("kal", "kal16", "awb", "rms", "slt")
    ),
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
    _relative("us", 0.9, 1.25, 1.08),
    _relative("us", 1.1, 0.85, 0.95),
    _relative("us", 1.0, 0.6, 0.85),
    _relative("gb", 1.0, 0.65, 0.88),
    _relative("gb", 0.9, 1.15, 1.05),
    _relative("us", 0.8, 0.95, 1.0),
    _relative("us", 1.15, 1.1, 1.12),
)
"""Voices in the order of the `voice` column."""

UNMET_VOICE = Voice("festival-ked", "festival", "ked_diphone", (1.0,))
"""A speaker of a synthesiser of which training knows nothing."""


def _run(command: list[str]) -> bytes:
    """Run a speech program and return what it wrote; its failure is told in one line."""
    if shutil.which(command[0]) is None:
        raise DataError(f"the program {command[0]} is not installed (Debian package {command[0]})")
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise DataError(
            f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()[:200]}"
        )
    return done.stdout


def _espeak_wave(voice: Voice, pace: float, text: str) -> tuple[Wave, int]:
    words = str(round(165 * pace))
    sound = _run(
        [
            "espeak-ng",
            "-v",
            voice.ident,
            "-s",
            words,
            "-p",
            str(round(50 * voice.pitch)),
            "--stdout",
            text,
        ]
    )
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
        raise DataError(
            "the Python package hibari-tts is not installed (see requirements.txt)"
        ) from None
    return Hibari(g2p=G2P(british=accent == "gb"))


def _scale_formants(spectrum: Wave, factor: float) -> Wave:
    """Stretch a spectrum (bins, frames) along its bins: bin k takes what was at k / factor."""
    at = np.clip(np.arange(len(spectrum)) / factor, 0, len(spectrum) - 1.001)
    low = at.astype(np.int64)
    share = (at - low).astype(np.float32)[:, None]
    return (spectrum[low] * (1 - share) + spectrum[low + 1] * share).astype(np.float32)


def _hibari_wave(voice: Voice, pace: float, text: str) -> tuple[Wave, int]:
    engine = _hibari(voice.ident)
    # Fixed seeds: the engine's noise component must not change from one run to the next.
    if voice.pitch == voice.formant == 1.0:
        return np.asarray(engine(text, speed=pace, seed=0), np.float32), int(engine.sample_rate)
    from hibari import dsp

    ids = np.asarray([engine.ids(" ".join(engine.phonemize(text)))], np.int64)
    outputs = engine.sess.run(None, {"ids": ids, "speed": np.asarray([pace], np.float32)})
    harmonic, phase, noise, free, angle, f0 = (output[0] for output in outputs)
    bent = [_scale_formants(part, voice.formant) for part in (harmonic, phase, noise)]
    # The free-phase part carries the old pitch and cannot be moved; it is silenced.
    silent = np.full_like(free, -30)
    wave = dsp.synth(*bent, silent, angle, f0 * np.float32(voice.pitch), np.random.default_rng(0))
    return np.asarray(wave, np.float32), int(engine.sample_rate)


def _festival_wave(voice: Voice, pace: float, text: str) -> tuple[Wave, int]:
    with tempfile.TemporaryDirectory() as folder:
        file, script = Path(folder) / "clip.wav", Path(folder) / "say.scm"
        script.write_text(
            f"(voice_{voice.ident})\n(Parameter.set 'Duration_Stretch {1 / pace:.4f})\n"
            f"(set! said (utt.synth (Utterance Text {json.dumps(text)})))\n"
            f"(utt.save.wave said {json.dumps(str(file))} 'riff)\n",
            encoding="utf-8",
        )
        _run(["festival", "-b", str(script)])
        wave, rate = soundfile.read(file, dtype="float32")
    return wave, int(rate)


ENGINES = {
    "espeak-ng": _espeak_wave,
    "festival": _festival_wave,
    "flite": _flite_wave,
    "hibari": _hibari_wave,
}


def resample(wave: Wave, rate: int) -> Wave:
    """A mono wave of any whole rate (N,) at 16 kHz, band-limited."""
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise DataError(
            "the Python package scipy is not installed (see requirements.txt)"
        ) from None
    common = int(np.gcd(rate, RATE))
    return np.asarray(
        resample_poly(wave.astype(np.float32), RATE // common, rate // common), np.float32
    )


def trim(wave: Wave, threshold: float = 0.01) -> Wave:
    """Cut silence off both ends of a mono 16 kHz wave (N,), keeping 10 ms before and 30 ms behind
    the sound."""
    frames = len(wave) // 80
    if frames == 0:
        return wave[:0]
    level = np.sqrt(np.mean(wave[: frames * 80].reshape(frames, 80) ** 2, axis=1))
    loud = (
        np.flatnonzero(level > threshold * level.max())
        if level.max() > 0
        else np.zeros(0, np.int64)
    )
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
    """One clip, int16 (20480,); a name that is too long at this pace is read faster until it
    fits."""
    for attempt in range(TRIES):
        wave, rate = ENGINES[voice.engine](voice, pace * FASTER**attempt, text)
        word = trim(resample(wave, rate))
        if len(word) == 0:
            raise DataError(f"{voice.name} said nothing for '{text}'")
        if LEAD + len(word) <= SAMPLES:
            return place(word)
    raise DataError(
        f"'{text}' does not fit {SAMPLES / RATE:.2f} s in the voice {voice.name}; choose a shorter"
        " name"
    )
