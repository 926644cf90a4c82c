"""The cost of a generation: seconds by part, forwards used and saved, rows and tokens computed
again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

PARTS: Final = ("embed", "backbone", "head", "draw", "flow", "cache")
STEP: Final = "step"  # the whole of a step, its parts included


@dataclass
class Meter:
    """Counts add up over the generations that share a meter; a forward or a row of two guidance
    branches counts once.

    `events` are (part, began, ended) in seconds of `time.perf_counter`, kept where `keeps_events`
    is set.
    """

    requests: int = 0
    steps: int = 0  # of all requests
    forwards: int = 0  # of the backbone, of all requests
    rows: int = 0  # positions that those forwards computed
    rows_of_full_forwards: int = 0  # positions that they would have computed with nothing cached
    head_rows: int = 0  # positions that a head computed, every call counted
    jumps: int = 0  # sub-codes that changed
    peak_state_bytes: int = 0  # keys and values kept
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*PARTS, STEP), 0.0))
    keeps_events: bool = False
    events: list[tuple[str, float, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block of code as one of PARTS, or as a STEP."""
        began = time.perf_counter()
        try:
            yield
        finally:
            ended = time.perf_counter()
            self.seconds[name] += ended - began
            if self.keeps_events:
                self.events.append((name, began, ended))

    def count_forwards(self, requests: int, rows: int) -> None:
        """Count a forward of this many requests and computed rows."""
        self.forwards += requests
        self.rows += rows

    @property
    def forwards_saved(self) -> int:
        """The forwards of a loop that makes one in each step."""
        return self.steps - self.forwards

    @property
    def rows_reused(self) -> int:
        """Positions that kept their keys and values in a forward that computed others."""
        return self.rows_of_full_forwards - self.rows

    def counts(self) -> dict[str, int]:
        """The counts by name."""
        return {
            "requests": self.requests,
            "steps": self.steps,
            "forwards": self.forwards,
            "forwards_saved": self.forwards_saved,
            "rows": self.rows,
            "rows_reused": self.rows_reused,
            "head_rows": self.head_rows,
            "jumps": self.jumps,
            "peak_state_bytes": self.peak_state_bytes,
        }
