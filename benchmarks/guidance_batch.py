"""Two guidance branches as one batch against two calls: `python benchmarks/guidance_batch.py
[--half DIR] [--wide DIR] [-o FILE]`.

A forward of the backbone over two sequences of equally many rows, in one call and in two, at 32, 64
and 256 rows. The models are Qwen2.5-0.5B's 24 layers, and one layer of the 7 B shape, with random
weights. The two ways take turns. The ratio is the median over the rounds of the time of two calls
over the time of one. With `--threads 1` seconds are the processor's. The bundles are those of
runtime_speed.py and of `peer_7b.py --layers 1`, and are made where they are missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import peer_7b
import runtime_speed
from contenders import clock, parser

from nextomni_edge.bundle import Bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.runtimes.base import Execution, Session, runtime
from nextomni_edge.runtimes.machine import Machine
from nextomni_edge.spec import ComponentName, Wire

ROWS: Final = (32, 64, 256)
# by model: what of its folder runs, and on which runtime
RUNS: Final = {
    "0.5 B": (("parent", "onnx"), ("int8-static", "onnx"), ("int4-rtn", "openvino")),
    "7 B, one layer": (("float16", "onnx"), ("int8-static", "onnx"), ("int4-32", "openvino")),
}


def loaded(bundle: Path, name: str, threads: int) -> Session:
    opened, part = Bundle.open(bundle, verify_hashes=False), ComponentName.BACKBONE
    loader = runtime(name, Execution(name, threads=threads))
    return loader.load(part, opened.component_file(part), opened.spec(part))


def compared(
    session: Session, rows: int, rounds: int, now: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Seconds of one call with both branches, and of two calls, by round."""
    one = runtime_speed.inputs(session.spec, rows)
    states = {name for name, _ in session.spec.states}
    both = {
        name: np.concatenate([array, array], axis=1 if name in states else 0)
        for name, array in one.items()
    }
    together: list[float] = []
    apart: list[float] = []
    for number in range(rounds + 1):
        ways = [(together, [both]), (apart, [one, one])]
        for seconds, calls in ways[:: -1 if number % 2 else 1]:
            began = now()
            for given in calls:
                session.run(given, [Wire.HIDDEN])
            if number:  # the first warms up
                seconds.append(now() - began)
    return together, apart


def measure(folders: dict[str, Path], threads: int, rounds: int) -> list[dict[str, Any]]:
    found = []
    for model, folder in folders.items():
        for entry, name in RUNS[model]:
            print(f"{model}: {entry} on {name}", file=sys.stderr, flush=True)
            session = loaded(folder / entry, name, threads)
            for rows in ROWS:
                together, apart = compared(session, rows, rounds, clock(threads))
                ratio = statistics.median(
                    two / one for one, two in zip(together, apart, strict=True)
                )
                found.append({
                    "model": model, "weights": entry, "runtime": name, "rows": rows,
                    "one_call_s": together, "two_calls_s": apart, "times_as_fast": ratio,
                })  # fmt: skip
            del session
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: how many times as fast one call is, a line for each bundle."""
    lines = [
        f"| | {' | '.join(f'{rows} rows' for rows in ROWS)} |", "|---" + "|---:" * len(ROWS) + "|"
    ]  # fmt: skip
    for at in range(0, len(found), len(ROWS)):
        own = found[at : at + len(ROWS)]
        cells = " | ".join(f"{row['times_as_fast']:.2f}×" for row in own)
        lines.append(f"| {own[0]['model']}, {own[0]['weights']}, {own[0]['runtime']} | {cells} |")
    return "\n".join(lines)


def prepare(given: argparse.Namespace) -> dict[str, Path]:
    """The folders of bundles, made where they are missing."""
    half, wide = given.half, given.wide / "layers-1"
    needed = {name: {entry for entry, _ in RUNS[name]} for name in RUNS}
    half.mkdir(parents=True, exist_ok=True)
    wide.mkdir(parents=True, exist_ok=True)
    if not all((half / entry).exists() for entry in needed["0.5 B"]):
        runtime_speed.prepare(half, needed["0.5 B"], quick=False)
    if not all((wide / entry).exists() for entry in needed["7 B, one layer"]):
        peer_7b.prepare(wide, needed["7 B, one layer"], layers=1, quick=False)
    return dict(zip(RUNS, (half, wide), strict=True))


def main() -> None:
    """Make what is missing, measure, and write the numbers."""
    options = parser(__file__, __doc__, "", 7)
    options.add_argument("--half", type=Path, default=Path("build/latency/half-a-billion"))
    options.add_argument("--wide", type=Path, default=Path("build/peer-7b"))
    given = options.parse_args()
    folders, load = prepare(given), os.getloadavg()[0]
    found = measure(folders, given.threads, given.rounds)
    data = {
        "machine": dataclasses.asdict(Machine.here()), "threads": given.threads,
        "load_before": load, "load_after": os.getloadavg()[0], "rows": found,
    }  # fmt: skip
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps(data, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
