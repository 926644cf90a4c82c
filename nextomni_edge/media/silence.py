"""What OmniVoice's command does to a sound: silence cut out and cut off, pieces joined, loudness
and edges set. Silence is found in whole milliseconds of 16-bit samples, as `pydub` does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Span = tuple[int, int]  # milliseconds
FULL: Final = 32_768
QUIET: Final = FULL * 10 ** (-50 / 20)  # −50 dB of full scale
STEP: Final = 10  # milliseconds from one place that is looked at to the next
GAP: Final = 0.3  # seconds between two pieces: a third fades out, a third is silent, one fades in
EDGE: Final = 0.1  # seconds that fade at either end, and of silence around it
LEAST_LOUDNESS: Final = 0.1  # of a voice, as the model is made for; root mean square
PEAK: Final = 0.5  # of speech in no given voice


@dataclass(frozen=True)
class _Clip:
    """16-bit samples, cut by milliseconds."""

    samples: NDArray[np.int16]
    rate: int

    def __len__(self) -> int:
        return round(1000 * (len(self.samples) / self.rate))

    def place(self, ms: int) -> int:
        return int(min(ms, len(self)) * (self.rate / 1000.0))

    def cut(self, start: int, stop: int) -> _Clip:
        """The clip from one millisecond to another; the last may reach a little beyond the samples
        and is then filled with zeros."""
        first, last = self.place(start), self.place(stop)
        found = self.samples[first:last]
        return _Clip(np.pad(found, (0, max(0, last - first - len(found)))), self.rate)

    def quiet(self, starts: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
        """Whether each piece of `length` ms has a root mean square, rounded down, of at most
        −50 dB."""
        total = np.concatenate([[0], np.cumsum(self.samples.astype(np.int64) ** 2)])
        first = np.array([self.place(int(start)) for start in starts], np.int64)
        last = np.array([self.place(int(start) + length) for start in starts], np.int64)
        most = len(self.samples)
        squares = total[np.minimum(last, most)] - total[np.minimum(first, most)]
        found: NDArray[np.bool_] = np.floor(np.sqrt(squares / np.maximum(last - first, 1))) <= QUIET
        return found

    def loud_spans(self, least: int) -> list[Span]:
        """What is left between silences of at least `least` ms."""
        whole = len(self)
        if whole < least:
            return [(0, whole)]
        starts = np.arange(0, whole - least + 1, STEP, dtype=np.int64)
        if (whole - least) % STEP:
            starts = np.append(starts, whole - least)
        silences = _silences(starts[self.quiet(starts, least)].tolist(), least)
        if not silences:
            return [(0, whole)]
        if silences[0] == (0, whole):
            return []
        stops = [0, *(stop for _, stop in silences)]
        spans = list(zip(stops, [*(start for start, _ in silences), whole], strict=True))
        spans = spans[:-1] if silences[-1][1] == whole else spans
        return spans[1:] if spans and spans[0] == (0, 0) else spans

    def leading(self) -> int:
        """Milliseconds before the first that are not quiet."""
        starts = np.arange(0, len(self) + STEP, STEP, dtype=np.int64)
        quiet = self.quiet(starts, STEP)
        return min(int(starts[np.argmin(quiet)]) if not quiet.all() else len(self), len(self))

    def without_edge(self, kept: int) -> _Clip:
        """The clip without the silence that it begins with, but for `kept` ms of it."""
        return self.cut(max(0, self.leading() - kept), len(self))

    def reversed(self) -> _Clip:
        return _Clip(self.samples[::-1], self.rate)


def _silences(starts: list[int], least: int) -> list[Span]:
    """Quiet pieces that touch or overlap, as one silence each."""
    found: list[Span] = []
    for start in starts:
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], start + least)
        else:
            found.append((start, start + least))
    return found


def without_silence(
    sound: Float32, rate: int, middle: int, before: int = 100, behind: int = 100
) -> Float32:
    """A sound (samples,) in [-1,1] whose silences of over `middle` ms keep so much on either side,
    and whose edges keep `before` and `behind` ms; float32 of 16 bits. Empty where all is quiet."""
    whole = _Clip(np.clip(sound * FULL, -FULL, FULL - 1).astype(np.int16), rate)
    spans = [[start - middle, stop + middle] for start, stop in whole.loud_spans(middle)]
    for left, right in itertools.pairwise(spans):
        if right[0] < left[1]:
            left[1] = right[0] = (left[1] + right[0]) // 2
    parts = [whole.cut(max(start, 0), min(stop, len(whole))).samples for start, stop in spans]
    clip = _Clip(np.concatenate([*parts, np.zeros(0, np.int16)]), rate)
    edged = clip.without_edge(before).reversed().without_edge(behind).reversed()
    return edged.samples.astype(np.float32) / np.float32(FULL)


def joined(sounds: list[Float32], rate: int) -> Float32:
    """Sounds one after another: what is there so far fades out, a silence, and the next fades
    in."""
    whole, third = sounds[0].copy(), int(GAP * rate) // 3
    for sound in sounds[1:]:
        if length := min(third, len(whole)):
            whole[-length:] *= ramp(1, 0, length)
        silence = np.zeros(third, np.float32)
        whole = np.concatenate([whole, silence, *bordered(sound, rate, True, False)])
    return whole


def bordered(sound: Float32, rate: int, follows: bool, goes_on: bool) -> list[Float32]:
    """A piece of a longer sound that is heard while the rest is made: it fades in where it follows
    another, and where another follows it fades out before a silence."""
    out, third = sound.copy(), int(GAP * rate) // 3
    if follows and (length := min(third, len(out))):
        out[:length] *= ramp(0, 1, length)
    if not goes_on:
        return [out]
    if length := min(third, len(out)):
        out[-length:] *= ramp(1, 0, length)
    return [out, np.zeros(third, np.float32)]


def at_loudness(sound: Float32, voice: float | None) -> Float32:
    """A sound as loud as the clip of its voice was; without a voice its peak is 0.5."""
    if voice is not None:
        return sound * voice / LEAST_LOUDNESS if voice < LEAST_LOUDNESS else sound
    peak = float(np.abs(sound).max(initial=0.0))
    return sound / peak * PEAK if peak > 1e-6 else sound


def edged(sound: Float32, rate: int, start: bool = True, stop: bool = True) -> Float32:
    """A sound that fades in and out, between two silences."""
    if not len(sound):
        return sound
    out, length = sound.copy(), min(int(EDGE * rate), len(sound) // 2)
    around = np.zeros(int(EDGE * rate), np.float32)
    if start and length:
        out[:length] *= ramp(0, 1, length)
    if stop and length:
        out[-length:] *= ramp(1, 0, length)
    return np.concatenate([*([around] if start else []), out, *([around] if stop else [])])


def ramp(start: int, stop: int, length: int) -> Float32:
    return np.linspace(start, stop, length, dtype=np.float32)


def loudness(sound: Float32) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(sound**2)))
