"""Counter-based noise: a value only depends on its use, so no shortcut, batch or runtime shifts it
(METHOD 3)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import UsageError

WORD = 1 << 64  # Philox's key and counter are words of 64 bits


class Use(enum.IntEnum):
    """What a uniform decides. The numbers are part of every golden trace: never change them."""

    START = 0  # x_0
    X_1 = 1  # the draw of x_1 from the head's logits
    JUMP = 2  # whether a symbol jumps
    TARGET = 3  # where it lands
    SYMBOL = 4  # which symbol a masked row draws: one value for each of the vocabulary
    SCORE = 5  # the noise on a masked row's score
    SPECTRUM = 6  # x_0 of a mel spectrogram, in a continuous flow
    PHASE = 7  # where a vocoder's sines begin
    BREATH = 8  # the noise of a vocoder's source


@dataclass(frozen=True)
class Noise:
    """
    Uniform values by (seed, segment, step, position, code, use), from numpy's Philox4x64-10, whose
    stream numpy keeps stable.

    Philox turns (key, counter) into four words. Key = (seed, use), counter = (1 + position // 4,
    code, step, segment), and position % 4 picks the word: so more positions, codes, steps or
    segments never change a value. UsageError for a seed outside [0, 2^64).
    """

    seed: int

    def __post_init__(self) -> None:
        _check_word("seed", self.seed)

    def uniform(
        self, segment: int, step: int, use: Use, positions: int, codes: int = 1
    ) -> NDArray[np.float64]:
        """Uniform in [0, 1), multiples of 2^-53, (positions, codes) float64. UsageError for a
        negative argument."""
        for name, value in (
            ("segment", segment),
            ("step", step),
            ("positions", positions),
            ("codes", codes),
        ):
            _check_word(name, value)
        out = np.empty((positions, codes), dtype=np.float64)
        key = np.array([self.seed, int(use)], dtype=np.uint64)
        for code in range(codes):
            philox = np.random.Philox(
                key=key, counter=np.array([0, code, step, segment], dtype=np.uint64)
            )
            out[:, code] = (philox.random_raw(positions) >> np.uint64(11)) * 2.0**-53
        return out

    def symbols(
        self, segment: int, step: int, use: Use, row: int, vocabulary: int
    ) -> NDArray[np.float64]:
        """Uniform in [0, 1), one for each symbol of one row, (vocabulary,) float64: those that
        `uniform` gives to `vocabulary` positions of the sub-code `row`. UsageError as there."""
        for name, value in (("segment", segment), ("step", step), ("row", row)):
            _check_word(name, value)
        philox = np.random.Philox(
            key=np.array([self.seed, int(use)], dtype=np.uint64),
            counter=np.array([0, row, step, segment], dtype=np.uint64),
        )
        words: NDArray[np.uint64] = philox.random_raw(vocabulary) >> np.uint64(11)
        return words.astype(np.float64) * 2.0**-53


def _check_word(name: str, value: int) -> None:
    if not 0 <= value < WORD:
        raise UsageError(f"noise: {name} is {value}, expected 0 to 2^64 − 1")
