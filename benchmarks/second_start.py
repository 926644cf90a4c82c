"""A large bundle's later starts, and what a second process of it costs: `python
benchmarks/second_start.py BUNDLE [--ways onnx,openvino] [-o FILE]`.

BUNDLE is that of `make demo-7b`, or any that answers in text. A start is a process that imports the
package, opens the bundle with `--verify-hashes once`, loads what a text needs, and ends the first
step that predicts. Seconds count from before the process begins. Each way to run has one start that
fills the caches and is not counted, then `--rounds` starts one at a time, in turn. At last two
processes run at once, and their memory is read: Pss, which shares the pages of a file out among the
processes that map it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from contenders import Contender, parser

from nextomni_edge.files import atomic_write
from nextomni_edge.runtimes.machine import Machine

COMPONENTS: Final = ("embed_text", "backbone", "text_head")
CACHED: Final = "with --cache"
TIMES: Final = (
    "seconds", "open_s", "load_s", "first_step_s", "load_processor_s", "processor_s",
)  # fmt: skip


def work(way: str, bundle: Path, cache: Path) -> None:
    """The measured process: one line when its first step is done, and it ends with its stdin."""
    began = time.perf_counter()
    import nextomni_edge as ne
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.measure.timing import Configuration, timed
    from nextomni_edge.tokens.chat import Part, Turn, conversation, respond

    imported = time.perf_counter()
    runtime, _, more = way.partition(" ")
    kept = cache / runtime if more == CACHED else None
    model = ne.load(bundle, runtime, cache=kept, verify_hashes="once").edge
    opened, working = time.perf_counter(), time.process_time()
    for component in COMPONENTS:
        model.session(component)
    loaded, worked = time.perf_counter(), time.process_time()
    asked = conversation(model.tokenizer, [Turn("user", (Part("text", "what is this?"),))], "text")
    sequence = respond(asked, "text", model.config, model.tokenizer)
    options = GenerationOptions.defaults(model.config, "text", steps=2)
    step = timed(Configuration(way, model, sequence, options, 0.0), 0)
    found = {
        "import_s": imported - began, "open_s": opened - imported, "load_s": loaded - opened,
        "load_processor_s": worked - working, "first_step_s": step.first_step_seconds,
        "processor_s": time.process_time(), "rows": sequence.length,
    }  # fmt: skip
    print(json.dumps(found), flush=True)
    sys.stdin.read()


def start(way: str, given: argparse.Namespace, cache: Path) -> tuple[Contender, dict[str, Any]]:
    """A process that has done its first step, and its seconds and bytes. SystemExit: it failed."""
    began = time.perf_counter()
    command = [__file__, str(given.bundle), "--worker", way, "--folder", str(cache)]
    process = Contender(way, command, given.threads)
    if "error" in process.started:
        raise SystemExit(f"{way}: {process.started['error']}")
    seconds = time.perf_counter() - began
    return process, process.started | {"seconds": seconds} | process.memory()


def measure(ways: list[str], given: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """By way: every counted start, and two processes at once."""
    found: dict[str, Any] = {way: {"starts": [], "together": []} for way in ways}
    for number in range(given.rounds + 1):
        for way in ways:
            process, start_of = start(way, given, cache)
            process.close()
            print(number, way, start_of, file=sys.stderr, flush=True)
            if number:
                found[way]["starts"].append(start_of)
    for way in ways:
        both = [start(way, given, cache)[0] for _ in range(2)]
        found[way]["together"] = [process.memory() for process in both]
        for process in both:
            process.close()
    for own in found.values():
        for key in TIMES:
            own[key] = statistics.median(each[key] for each in own["starts"])
    return found


def table(found: dict[str, Any]) -> str:
    """Markdown, a line for each way to run."""
    heads = ("to the first step, s", "open, s", "load, s", "of the processor, s", "first step, s")
    sizes = ("peak, GB", "private, GB", "two processes, GB")
    lines = [f"| | {' | '.join(heads + sizes)} |", "|---" + "|---:" * 8 + "|"]
    for way, own in found.items():
        last = own["starts"][-1]
        shared = sum(each.get("shared_out", 0) for each in own["together"])
        lines.append(
            f"| {way} | {own['seconds']:.1f} | {own['open_s']:.2f} | {own['load_s']:.1f}"
            f" | {own['load_processor_s']:.1f} | {own['first_step_s']:.1f}"
            f" | {last.get('peak', 0) / 1e9:.2f} | {last.get('private', 0) / 1e9:.2f}"
            f" | {shared / 1e9:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the numbers."""
    options = parser(__file__, __doc__, "", 3)
    options.add_argument("bundle", type=Path)
    options.add_argument("--ways", default=f"onnx,onnx {CACHED},openvino")
    given = options.parse_args()
    if given.worker:
        work(given.worker, given.bundle, given.folder)
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=given.bundle.parent) as folder:
        found = measure(given.ways.split(","), given, Path(folder))
    data = {
        "machine": dataclasses.asdict(Machine.here()), "threads": given.threads,
        "load_before": load, "load_after": os.getloadavg()[0], "ways": found,
    }  # fmt: skip
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps(data, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
