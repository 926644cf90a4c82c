"""From speech codes to samples: a continuous flow to a mel spectrogram, and a vocoder that filters
sines of its pitch (CosyVoice, arXiv 2407.05407; HiFT, arXiv 2309.09493)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import AudioConfig, SpeechConfig, SpeechFlowConfig, VocoderConfig
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.runtimes.base import Session
from nextomni_edge.spec import ComponentName, Wire

Float32 = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class SpeechNoise:
    """The draws of one sound of T mel frames and S samples: x_0 (mels,T) and breath (harmonics+1,S)
    standard normal, phase (harmonics+1,) in [−π,π), 0 of the first. float32."""

    x_0: Float32
    phase: Float32
    breath: Float32

    @classmethod
    def drawn(cls, config: SpeechConfig, frames: int, seed: int = 0) -> SpeechNoise:
        """Counter-based draws: the same codes give the same sound. (The published code seeds torch
        with 42 in every call.)"""
        waves, noise = config.vocoder.harmonics + 1, Noise(seed)
        phase = 2.0 * np.pi * (noise.uniform(0, 0, Use.PHASE, waves)[:, 0] - 0.5)
        phase[0] = 0.0
        samples = frames * config.vocoder.frame
        return cls(
            _normal(noise, Use.SPECTRUM, frames, config.flow.mels),
            phase.astype(np.float32),
            _normal(noise, Use.BREATH, samples, waves),
        )


def _normal(noise: Noise, use: Use, positions: int, rows: int) -> Float32:
    """Standard normal (rows,positions) float32, by Box and Muller's transform."""
    u, v = (noise.uniform(0, step, use, positions, rows) for step in (0, 1))
    found = np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2.0 * np.pi * v)
    return np.ascontiguousarray(found.T, np.float32)


def mel_frames(codes: int, config: AudioConfig, speech: SpeechConfig) -> int:
    """Frames of a sound of so many codes."""
    return int(codes / speech.flow.code_rate * config.sample_rate / speech.vocoder.frame)


def code_places(codes: int, frames: int) -> Ids:
    """The code (frames,) that each frame belongs to: ⌊i·codes/frames⌋ in float32."""
    scale = np.float32(codes / frames)
    places = np.floor(np.arange(frames, dtype=np.float32) * scale).astype(np.int64)
    found: Ids = np.minimum(places, codes - 1)
    return found


def euler_times(steps: int) -> NDArray[np.float64]:
    """t_0 to t_n: 1 − cos(π/2·i/n)."""
    return 1.0 - np.cos(np.arange(steps + 1) / steps * (math.pi / 2))


def denoised(
    velocity: Callable[[Float32, float], Float32], x_0: Float32, config: SpeechFlowConfig
) -> Float32:
    """x_1 of dx/dt = v(x, t) by Euler's rule, float32 as x_0."""
    times, x = euler_times(config.steps), x_0
    for start, stop in itertools.pairwise(times):
        x = x + np.float32(stop - start) * velocity(x, float(start))
    return x


def sines(pitch: Float32, noise: SpeechNoise, config: VocoderConfig, rate: int) -> Float32:
    """
    The source of a sound: pitch (T,) in Hz → (T,frame,harmonics+1) float32.

    Wave h has h times the pitch, h from 1. Where there is no pitch it is noise, of a third of the
    sines' size. Phases add up in float64 and are kept in float32, which is what is heard.
    """
    held = np.repeat(pitch.astype(np.float32), config.frame)
    order = np.arange(1, config.harmonics + 2, dtype=np.float32)[:, None]
    turns = (held * order / np.float32(rate)).astype(np.float64).cumsum(axis=1).astype(np.float32)
    angles = np.float32(2.0 * np.pi) * (turns % np.float32(1.0)) + noise.phase[:, None]
    voiced = held > config.voiced
    size = np.where(voiced, np.float32(config.noise_size), np.float32(config.sine_size / 3.0))
    waves = np.float32(config.sine_size) * np.sin(angles) * voiced + size * noise.breath
    found: Float32 = waves.T.reshape(len(pitch), config.frame, -1).astype(np.float32)
    return np.ascontiguousarray(found)


class Speaker:
    """Speech codes (n,) int64 → a waveform (samples,) in [-1,1], by four components that `session`
    gives by name."""

    def __init__(self, session: Callable[[str], Session], config: AudioConfig) -> None:
        if config.speech is None:
            raise ValueError("a model that speaks has audio.speech")
        self.session, self.config, self.speech = session, config, config.speech

    def waveform(self, codes: Ids, noise: SpeechNoise | None = None) -> Float32:
        """NonFiniteError: a component gave NaN or infinity."""
        frames = max(1, mel_frames(len(codes), self.config, self.speech))
        noise = noise or SpeechNoise.drawn(self.speech, frames)
        return self.sound(self.spectrum(codes, noise), noise)

    def spectrum(self, codes: Ids, noise: SpeechNoise) -> Float32:
        """The mel spectrogram (mels,T) of codes, T that of the noise."""
        config, frames = self.speech.flow, noise.x_0.shape[1]
        condition = self.session(ComponentName.SPEECH_CONDITION).run(
            {Wire.CODES: codes[None], Wire.PLACES: code_places(len(codes), frames)[None]}
        )[Wire.CONDITION]
        branches = np.concatenate([condition, np.zeros_like(condition)])
        network = self.session(ComponentName.SPEECH_VELOCITY)

        def velocity(x: Float32, time: float) -> Float32:
            given = {
                Wire.X_T: np.stack([x, x]), Wire.CONDITION: branches,
                Wire.TIME: np.full(2, time, np.float32),
            }  # fmt: skip
            with_it, without = network.run(given)[Wire.VELOCITY]
            w = np.float32(config.guidance)
            found: Float32 = (1 + w) * with_it - w * without
            return found

        return denoised(velocity, noise.x_0, config)

    def sound(self, mel: Float32, noise: SpeechNoise) -> Float32:
        """The samples of a mel spectrogram (mels,T)."""
        pitch = self.session(ComponentName.SPEECH_PITCH).run({Wire.MEL: mel[None]})[Wire.PITCH][0]
        source = sines(pitch, noise, self.speech.vocoder, self.config.sample_rate)
        given = {Wire.MEL: mel[None], Wire.SINES: source[None]}
        samples: Float32 = self.session(ComponentName.VOCODER).run(given)[Wire.WAVEFORM][0]
        return samples.reshape(-1)
