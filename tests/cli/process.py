"""The command in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.sources import ROOT

PROGRAM = [sys.executable, "-m", "nextomni_edge"]


def heed_interrupts() -> None:
    """A test run in a shell's background has interrupts ignored, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: object, program: list[str] = PROGRAM) -> subprocess.Popen[str]:
    command = [*program, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )


def ended(*arguments: object, program: list[str] = PROGRAM) -> tuple[int, str, str]:
    process = start(*arguments, program=program)
    out, errors = process.communicate(timeout=250)
    return process.returncode, out, errors
