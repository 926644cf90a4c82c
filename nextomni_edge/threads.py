"""How many threads compute: OMP_NUM_THREADS, `--threads`, or all cores."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

VARIABLE: Final = "OMP_NUM_THREADS"
MAX_THREADS: Final = 1024
_FIXED: Final[ContextVar[int]] = ContextVar("threads", default=0)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_threads() -> int:
    """Threads that can be asked for: more than a few on a core only wait for one another. With a
    thousand on two cores a small answer takes minutes."""
    return min(MAX_THREADS, 4 * cores())


def threads() -> int:
    """Threads from OMP_NUM_THREADS, which the vendors' own builds ignore, at most `most_threads`;
    0, all cores, where it is unset."""
    if fixed := _FIXED.get():
        return fixed
    value = os.environ.get(VARIABLE, "")
    return min(int(value), most_threads()) if re.fullmatch("[0-9]{1,9}", value) else 0


@contextlib.contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Sessions loaded in the block use so many threads: sums in another order have other last
    bits."""
    token = _FIXED.set(count)
    try:
        yield
    finally:
        _FIXED.reset(token)


def bound_threads() -> None:
    """Leave in OMP_NUM_THREADS only a number that a machine can have: libraries that read the
    variable themselves end the process over a million threads. Call it before any is imported."""
    if VARIABLE in os.environ:
        set_threads(threads())


@contextlib.contextmanager
def environment_threads(count: int) -> Iterator[None]:
    """In the block this process, and those that it starts, compute with so many threads."""
    before = os.environ.get(VARIABLE)
    set_threads(count)
    try:
        yield
    finally:
        set_threads(0)
        if before is not None:
            os.environ[VARIABLE] = before


def set_threads(count: int) -> None:
    """Let this process, and those that it starts, compute with so many threads; 0 is all cores."""
    count = min(count, most_threads())
    if count:
        os.environ[VARIABLE] = str(count)
    else:
        os.environ.pop(VARIABLE, None)
