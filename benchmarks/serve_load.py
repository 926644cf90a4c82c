"""A server under load on loopback: 1, 4 and 16 clients with mixed tasks. Every answer is compared
with the one computed by itself before the load begins.

Writes the raw times of every request, and a summary: answers that are wrong or lost, latency at the
50th and 95th percentile, answers a second, and the growth of the server's memory.

    python benchmarks/serve_load.py demo/bundle --seconds 300 -o benchmarks/serve_load.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CLIENTS = (1, 4, 16)
WARM = 20.0  # seconds of the largest load before memory is read: pools and caches fill
PROMPTS = ("draw rocket, noto style", "draw cat, noto style", "say rocket", "rocket")
TASKS: tuple[dict[str, Any], ...] = (
    {"to": "text", "steps": 4},
    {"to": "image", "steps": 8},
    {"to": "audio", "steps": 4, "seconds": 0.2},
)


@dataclass
class Server:
    """The process, and the ways to ask it."""

    process: subprocess.Popen[str]
    address: str

    def ask(self, body: dict[str, Any]) -> list[Any]:
        """The tokens of an answer."""
        asked = urllib.request.Request(
            f"{self.address}/v1/generate",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=300) as reply:
            tokens: list[Any] = json.load(reply)["tokens"]
        return tokens

    def resident(self) -> int:
        """Bytes of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) << 10


@dataclass
class Load:
    """What a number of clients saw."""

    clients: int
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    lost: int = 0
    failures: list[str] = field(default_factory=list)

    def row(self, wall: float) -> dict[str, Any]:
        """The summary."""
        p50, p95 = np.percentile(self.seconds, (50, 95))
        return {
            "clients": self.clients,
            "answers": len(self.seconds),
            "wrong": self.wrong,
            "lost": self.lost,
            "answers_per_second": round(len(self.seconds) / wall, 3),
            "p50_seconds": round(float(p50), 4),
            "p95_seconds": round(float(p95), 4),
            "failures": self.failures[:10],
        }


def start(bundle: Path) -> Server:
    command = [sys.executable, "-m", "nextomni_edge", "serve", f"served={bundle}"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--json", "-q"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return Server(process, json.loads(process.stdout.readline())["address"])


def requests() -> list[dict[str, Any]]:
    """Each prompt with each task and two seeds."""
    return [
        {"prompt": prompt, "seed": seed, **task}
        for prompt in PROMPTS
        for task in TASKS
        for seed in (0, 1)
    ]


def expected(bundle: Path) -> list[Any]:
    """Each request's tokens, computed here, one by one."""
    import nextomni_edge as ne

    model = ne.load(bundle)
    found = []
    for asked in requests():
        settings = {name: asked[name] for name in asked if name not in ("prompt", "to")}
        found.append(model.generate(asked["prompt"], to=asked["to"], **settings).tokens.tolist())
    return found


def run(server: Server, right: list[Any], clients: int, seconds: float) -> dict[str, Any]:
    """That many clients, each asking again as soon as it has its answer."""
    load, lock, bodies = Load(clients), threading.Lock(), requests()
    ends = time.perf_counter() + seconds

    def client(number: int) -> None:
        at = number * 7
        while time.perf_counter() < ends:
            index, at = at % len(bodies), at + 1
            began = time.perf_counter()
            try:
                tokens = server.ask(bodies[index])
            except Exception as error:
                with lock:
                    load.lost += 1
                    load.failures.append(f"{type(error).__name__}: {error}")
                continue
            with lock:
                load.seconds.append(time.perf_counter() - began)
                load.wrong += tokens != right[index]

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load.row(time.perf_counter() - began) | {
        "raw_seconds": [round(each, 4) for each in load.seconds]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"))
    parser.add_argument("--seconds", type=float, default=300.0, help="of the largest load")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/serve_load.json"))
    options = parser.parse_args()
    right = expected(options.bundle)
    server = start(options.bundle)
    try:
        run(server, right, CLIENTS[-1], min(WARM, options.seconds))
        before, loads = server.resident(), []
        for clients in CLIENTS:
            share = 1.0 if clients == CLIENTS[-1] else 0.08
            loads.append(run(server, right, clients, options.seconds * share))
            print({name: value for name, value in loads[-1].items() if name != "raw_seconds"})
        after = server.resident()
    finally:
        server.process.terminate()
        server.process.wait()
    growth = {"before": before, "after": after, "share": round(after / before - 1, 4)}
    print(growth)
    options.output.write_text(json.dumps({"memory": growth, "loads": loads}) + "\n")


if __name__ == "__main__":
    main()
