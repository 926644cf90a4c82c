"""What the loop reports about its steps, to observers and in errors."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from nextomni_edge.generate.rows import Float, Ids
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.sequence import Sequence

NOT_DRAWN = -1  # in place of x_1 where none is drawn


@dataclass(frozen=True)
class StepRecord:
    """One step of one request, per generated segment: x_t before it, and the predicted x_1 (None
    where it was not computed).

    `margins` holds, for each x_1, how near its draw was to another outcome (see draw.py). `margin`
    is the smallest, infinite without a draw. Everything else in a step follows from the same
    numbers on every runtime.
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
    """Take all steps and return the finished sequences; `observe` receives each step."""
    while True:
        try:
            record = next(steps)
        except StopIteration as end:
            finished: list[Sequence] = end.value
            return finished
        if observe:
            observe(record)


class StoppedError(NonFiniteError):
    """A run met NaN or infinity. `partial` holds the sequences with their tokens before that
    step."""

    def __init__(self, line: str, partial: list[Sequence]) -> None:
        super().__init__(line)
        self.partial = partial
