"""What the loop tells of its steps, to those who watch it and those whom it fails."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from nextomni_edge.generate.rows import Float, Ids
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.sequence import Sequence

NOT_DRAWN = -1  # in place of x_1 where none is drawn


@dataclass(frozen=True)
class StepRecord:
    """One step of one request, per generated segment: x_t before it, x_1 predicted (None where it
    was not asked for).

    `margins` holds, beside each x_1, how near its draw was to another outcome (see margin.py),
    `margin` the smallest, infinite where there was no draw: all else in a step is computed from the
    same numbers on every runtime.
    """

    request: int
    step: int
    t: float
    x_t: tuple[Ids, ...]
    x_1: tuple[Ids, ...] | None
    margins: tuple[Float, ...] | None

    @property
    def margin(self) -> float:
        return (
            float("inf")
            if self.margins is None
            else min(float(margins.min()) for margins in self.margins)
        )


Observe = Callable[[StepRecord], None]
# a generation on its way: a record of each request at each step, and the finished sequences
Steps = Generator[StepRecord, None, list[Sequence]]


def run_through(steps: Steps, observe: Observe | None = None) -> list[Sequence]:
    """Take all steps and return the finished sequences; `observe` is told of each step."""
    while True:
        try:
            record = next(steps)
        except StopIteration as end:
            finished: list[Sequence] = end.value
            return finished
        if observe:
            observe(record)


class StoppedError(NonFiniteError):
    """A run met NaN or infinity; `partial` holds the sequences with their tokens as they stood
    before that step."""

    exit_code = 1

    def __init__(self, line: str, partial: list[Sequence]) -> None:
        super().__init__(line)
        self.partial = partial
