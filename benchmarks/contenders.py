"""Processes that are asked in turn: each loads one model once, and answers a JSON object a line over a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any


class Contender:
    """A running process that answers on request. `started` is its first line: what it says of itself, or an `error`."""

    def __init__(self, name: str, command: list[str], threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        again = [sys.executable, *command]
        self.process = subprocess.Popen(again, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.name, self.started = name, self._read()

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        found: dict[str, Any] = json.loads(line) if line else {"error": f"its process ended with {self.process.wait()}"}
        return found

    def seconds(self, **asked: Any) -> float:
        if self.process.stdin is None:
            raise RuntimeError("started without a pipe")
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        answer = self._read()
        if "error" in answer:
            raise SystemExit(f"{self.name}: {answer['error']}")
        return float(answer["seconds"])

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def answer_all(load: Callable[[], Callable[[dict[str, Any]], float]], version: Callable[[], str]) -> None:
    """The process itself: load, say so, and give the seconds of each question on stdin."""
    try:
        respond = load()
    except Exception as error:  # whatever a vendor's library says, it is the contender's reason not to run
        print(json.dumps({"error": str(error).splitlines()[0]}), flush=True)
        return
    print(json.dumps({"version": version()}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": respond(json.loads(line))}), flush=True)
