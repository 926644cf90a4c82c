"""The numbers that options take: every one of them has a range, whatever is typed. Exit code 2."""

from __future__ import annotations

import math
from typing import Any, Final

import click

from nextomni_edge.threads import MAX_THREADS

SHOWN: Final = 40  # characters of what was typed
DIGITS: Final = 20  # of a whole number: Python refuses thousands in words of its own


class _Number(click.ParamType):  # type: ignore[type-arg]
    """A number within bounds."""

    name = "number"
    kind: type[int] | type[float] = float

    def __init__(self, low: float, high: float, unit: str = "", above: bool = False) -> None:
        self.low, self.high, self.unit, self.above = low, high, unit, above

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | int:
        """Click's BadParameter: not one, not finite, or out of range."""
        try:
            text = str(value).strip()
            if self.kind is int and len(text) > DIGITS:
                raise ValueError
            number = self.kind(text)
        except ValueError:
            self.fail(f"{_shown(value)} is {self._expected()}", param, ctx)
        low = number > self.low if self.above else number >= self.low
        if not (math.isfinite(number) and low and number <= self.high):
            self.fail(f"{_shown(value)} is {self._expected()}", param, ctx)
        return number

    def _expected(self) -> str:
        what = "no whole number" if self.kind is int else "no number"
        bounds = (
            f"above {self._bound(self.low)} and at most"
            if self.above
            else f"from {self._bound(self.low)} to"
        )
        return f"{what} {bounds} {self._bound(self.high)}{f' {self.unit}' if self.unit else ''}"

    def _bound(self, bound: float) -> str:
        return str(int(bound)) if self.kind is int else f"{bound:g}"


class Real(_Number):
    """A finite number from `low` (or above it) to `high`, in `unit`."""


class Whole(_Number):
    """A whole number from `low` to `high`, in `unit`."""

    name = "integer"
    kind = int


def _shown(value: object) -> str:
    text = str(value)
    return ascii(text[:SHOWN]) + (f" ({len(text)} characters)" if len(text) > SHOWN else "")


SEED: Final = Whole(0, 2**63 - 1)
STEPS: Final = Whole(1, 2**16)
COUNT: Final = Whole(1, 2**20)
SCALE: Final = Whole(1, 4096)
OPTIONAL_COUNT: Final = Whole(0, 2**20)
THREADS: Final = Whole(1, MAX_THREADS)
BINS: Final = Whole(1, 4096)
SHARE: Final = Real(0, 1)
SETTING: Final = Real(0, 1e6)  # of a temperature, of guidance
COSINE: Final = Real(-1, 1)
MEGABYTES: Final = Real(0, 1e9, "megabytes", above=True)
SECONDS: Final = Real(0, 86_400, "seconds", above=True)
MINUTES: Final = Real(0, 525_600, "minutes", above=True)
FRAMES_PER_SECOND: Final = Real(0.1, 100, "frames per second")
