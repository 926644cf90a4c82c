"""A server in a process of its own, as a person starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.sources import ROOT

KEY = "a-key-that-is-long-enough"


@dataclass
class Running:
    """A server's address, its process, and the file that holds its log."""

    address: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def lines(self) -> list[dict[str, object]]:
        """The log, which is one JSON object a line from the first request on."""
        text = self.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def resident(self) -> int:
        """Bytes of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10


def begin(log: Path, *arguments: object, port: int = 0) -> Running:
    """Start a server and wait until it listens."""
    command = [sys.executable, "-m", "nextomni_edge", "serve", *map(str, arguments)]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--json"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, log.read_text()
    return Running(json.loads(line)["address"], process, log)


@contextlib.contextmanager
def server(log: Path, *arguments: object, port: int = 0) -> Iterator[Running]:
    """A server that is stopped afterwards, and must end with 0."""
    running = begin(log, *arguments, port=port)
    try:
        yield running
    finally:
        running.process.send_signal(signal.SIGTERM)
        code = running.process.wait(timeout=60)
    assert code == 0, log.read_text()[-3000:]


def get(running: Running, path: str) -> bytes:
    with urllib.request.urlopen(f"{running.address}{path}", timeout=60) as answer:
        content: bytes = answer.read()
    return content
