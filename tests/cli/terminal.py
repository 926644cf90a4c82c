"""A command in a terminal of its own, with a person at its keys."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.sources import ROOT

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")
SECONDS = 200.0
# The new process takes the terminal itself: to fork this one, whose libraries have threads, and run
# Python before `exec` can wait for ever on a lock that another thread held.
BEGIN = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Terminal:
    """`shown` is all that the command wrote so far, control characters included."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid, self.descriptor = pid, descriptor
        self.shown, self._seen = "", 0

    @property
    def text(self) -> str:
        """What was written, without control characters."""
        return CONTROL.sub("", self.shown)

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def expect(self, words: str) -> str:
        """Wait until the words come up, after those that were expected before; what came up until
        then."""
        until = time.monotonic() + SECONDS
        while (found := self.text.find(words, self._seen)) < 0:
            left = until - time.monotonic()
            assert left > 0 and self._read(left), f"no {words!r} in {self.text[self._seen :]!r}"
        passed = self.text[self._seen : found]
        self._seen = found + len(words)
        while words.endswith("> ") and self._waits_for_lines() and time.monotonic() < until:
            time.sleep(0.01)  # a prompt stands before readline has taken the keys over
        return passed

    def _waits_for_lines(self) -> bool:
        return bool(termios.tcgetattr(self.descriptor)[3] & termios.ICANON)

    def end(self) -> int:
        """Wait for the command to end; its exit code."""
        while self._read(SECONDS):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, seconds: float) -> bool:
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:  # Linux: the other side is closed
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def terminal(*arguments: object) -> Iterator[Terminal]:
    """`nextomni-edge` with these arguments, in a terminal of 24-bit colours."""
    descriptor, inside = pty.openpty()
    command = [sys.executable, "-c", BEGIN, "-m", "nextomni_edge", *map(str, arguments)]
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    pid = child.pid
    try:
        yield Terminal(pid, descriptor)
    finally:
        os.close(descriptor)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
