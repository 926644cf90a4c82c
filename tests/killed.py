"""Calls in processes of their own, to be killed at any moment."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from typing import Final

# Children are forked from a process without threads: the test run has those of every library that
# was tested before.
SERVER: Final = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["nextomni_edge.calibration", "nextomni_edge.export", "nextomni_edge.train.loop"]
)


def killed(call: Callable[[], object], seconds: float) -> bool:
    """Kill a call that many seconds after its start (its imports done before); False: it had ended
    by then, without an error."""
    ready = SERVER.Event()
    child = SERVER.Process(target=_run, args=(call, ready))
    child.start()
    assert ready.wait(120)
    time.sleep(seconds)
    child.kill()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def _run(call: Callable[[], object], ready: Event) -> None:
    ready.set()
    call()
