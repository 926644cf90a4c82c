"""What each exact shortcut saves: `python benchmarks/shortcuts.py [--bundle DIR] [-o FILE]`, a
Markdown table and JSON.

Every task runs with all shortcuts, without each of them in turn, and without any; interleaved, from
the same seeds. The tokens must be the same, or nothing is written. Milliseconds are processor time:
other processes may share the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from nextomni_edge.bundle import Bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.shortcuts import SHORTCUTS
from nextomni_edge.measure.timing import Configuration, Measurement, equal_tokens, measure
from nextomni_edge.tasks import PLANS, Plan

TASKS = ("image-to-text", "audio-to-text", "text-to-image", "text-to-audio")
ALL, NONE = "all", "none of them"
DEMO = Path(__file__).resolve().parents[1] / "demo" / "bundle"


def measured(model: EdgeModel, plan: Plan, repeats: int) -> dict[str, Measurement]:
    """By shortcut that was left out, beside all and none of them."""
    options = GenerationOptions.defaults(model.config, plan.answer)
    variants = {ALL: options}
    for switch in (*SHORTCUTS, *(["batch_guidance"] if options.guidance else [])):
        variants[switch] = options.changed(**{switch: False})
    variants[NONE] = options.plain()
    sequence = plan.task(model).sequence
    found = measure(
        [Configuration(name, model, sequence, given, 0.0) for name, given in variants.items()],
        repeats,
    )
    for measurement in found:
        if equal_tokens(measurement, found[0]) != 1.0:
            raise SystemExit(
                f"{plan.name}: without {measurement.configuration.name} the tokens are others"
            )
    return {measurement.configuration.name: measurement for measurement in found}


def saved(found: dict[str, Measurement], name: str) -> dict[str, float]:
    """What a generation costs, and what it costs more without this shortcut (all of them for
    NONE)."""
    costs = []
    for key in (ALL, name):
        counts = found[key].timings[-1].counts
        costs.append(
            (
                1e3 * (found[key].median("processor_seconds") or 0.0),
                counts["forwards"],
                counts["head_rows"],
            )
        )
    (with_ms, with_forwards, with_rows), (ms, forwards, rows) = costs
    return {
        "ms": ms - with_ms,
        "of_ms": ms,
        "forwards": forwards - with_forwards,
        "head_rows": rows - with_rows,
    }


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A line for each shortcut, a column for each task."""
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    lines = [["left out", *results], ["---", *["---:"] * len(results)]]
    for name in names:
        cells = []
        for found in results.values():
            cell = found.get(name)
            forwards = f", {cell['forwards']:+.0f} forwards" if cell and cell["forwards"] else ""
            cells.append(f"{cell['ms']:+.1f} ms{forwards}" if cell else "")
        lines.append([f"`{name}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure every task and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    if not arguments.bundle.is_dir():
        sys.exit(
            f"{arguments.bundle}: no bundle; make one with `make demo`, or name another with"
            " --bundle"
        )
    model, results = (
        EdgeModel.from_bundle(Bundle.open(arguments.bundle)),
        dict[str, dict[str, Any]](),
    )
    for plan in (plan for plan in PLANS if plan.name in TASKS):
        found = measured(model, plan, arguments.repeats)
        results[plan.name] = {name: saved(found, name) for name in found if name != ALL}
    with atomic_write(arguments.out, "w") as file:
        file.write(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
