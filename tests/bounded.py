"""The bounds of what a stranger's file may cost: memory and time, held while a test runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

MEMORY = 1_500_000_000  # bytes beyond what the process had
SECONDS = 10.0  # of the processor: the machine may be busy


@contextlib.contextmanager
def bounded(memory: int = MEMORY, seconds: float = SECONDS) -> Iterator[None]:
    """An allocation beyond the bound raises MemoryError; too long a time fails the test."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, hard))
    began = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    took = time.process_time() - began
    assert took < seconds, f"{took:.1f} s of the processor, expected less than {seconds}"
