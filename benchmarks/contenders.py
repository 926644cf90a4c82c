"""Processes that are asked in turn: each loads one model once, and answers a JSON object a line
over a pipe."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

MEMORY: Final = {
    "resident": "VmRSS", "private": "RssAnon", "mapped": "RssFile", "shared_out": "Pss",
    "peak": "VmHWM",
}  # fmt: skip


def parser(script: str, described: str | None, folder: str, rounds: int) -> argparse.ArgumentParser:
    """The options that every comparison of contenders has; --worker is for the processes that it
    starts of itself."""
    found = argparse.ArgumentParser(
        description=described, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "--folder", type=Path, default=Path(folder), help="where the models are made and kept"
    )
    found.add_argument("--rounds", type=int, default=rounds)
    found.add_argument("--threads", type=int, default=os.cpu_count())
    found.add_argument("--prepare", action="store_true", help="make the models and end")
    found.add_argument("--worker", help=argparse.SUPPRESS)
    found.add_argument("-o", "--out", type=Path, default=Path(script).with_suffix(".json"))
    return found


class Contender:
    """A running process that answers on request. `started` is its first line: what it says of
    itself, or an `error`."""

    def __init__(self, name: str, command: list[str], threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        again = [sys.executable, *command]
        self.process = subprocess.Popen(
            again, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.name, self.started = name, self._read()

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        found: dict[str, Any] = (
            json.loads(line) if line else {"error": f"its process ended with {self.process.wait()}"}
        )
        return found

    def seconds(self, **asked: Any) -> float:
        if self.process.stdin is None:
            raise RuntimeError("started without a pipe")
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        answer = self._read()
        if "error" in answer:
            raise SystemExit(f"{self.name}: {answer['error']}")
        return float(answer["seconds"])

    def memory(self) -> dict[str, int]:
        """Bytes of the process now: resident, private, of mapped files, and with each page shared
        out among the processes that map it; and the most so far. Empty where the system does not
        say."""
        folder = Path(f"/proc/{self.process.pid}")
        if not (folder / "smaps_rollup").exists():
            return {}
        text = (folder / "status").read_text() + (folder / "smaps_rollup").read_text()
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {name: 1024 * int(lines[key].split()[0]) for name, key in MEMORY.items()}

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def started(
    script: str, names: list[str], given: argparse.Namespace, reference: str
) -> Iterator[tuple[list[Contender], dict[str, str]]]:
    """The contenders that run here, and of each other why it does not; all end with the block.
    SystemExit: the reference is one."""
    common = ["--folder", str(given.folder), "--threads", str(given.threads)]
    everyone: list[Contender] = []
    try:
        for name in names:
            print(f"loading {name}", file=sys.stderr, flush=True)
            everyone.append(Contender(name, [script, "--worker", name, *common], given.threads))
        absent = {one.name: one.started["error"] for one in everyone if "error" in one.started}
        if reference in absent:
            raise SystemExit(
                f"{reference}, which all is compared with, does not run: {absent[reference]}"
            )
        yield [one for one in everyone if one.name not in absent], absent
    finally:
        for one in everyone:
            one.close()


def clock(threads: int) -> Callable[[], float]:
    """Seconds of the wall; with one thread those of the processor, which other programs disturb
    less."""
    return time.process_time if threads == 1 else time.perf_counter


def answer_all(
    load: Callable[[], Callable[[dict[str, Any]], float]], version: Callable[[], str]
) -> None:
    """The process itself: load, say so with the seconds that it took, and give the seconds of each
    question on stdin."""
    began = time.perf_counter()
    try:
        respond = load()
    # whatever a vendor's library says, it is the contender's reason not to run
    except Exception as error:
        print(json.dumps({"error": str(error).splitlines()[0]}), flush=True)
        return
    took = time.perf_counter() - began
    print(json.dumps({"version": version(), "load_s": took}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": respond(json.loads(line))}), flush=True)
