"""The whole against the plain loop: `python benchmarks/plain_loop.py [--bundle DIR] [-o FILE]`, a
table and JSON.

Pictures and short answers are made three ways, interleaved on the same runtime and bits: plain (the
model's own number of steps, a whole forward in each, no shortcut), exact (the same steps with every
exact shortcut: the same tokens, or nothing is written), and fast (exact, and fewer steps: this part
approximates). Beside the times stands the share of right answers with Wilson's 95 % interval, on
the example's held-out items with a seed that no setting was chosen on; fast must not be below
plain's interval.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forwards import BUNDLE, JUDGES, Curve, Exam, Panel, ensure_bundle, heldout, score, trained

from nextomni_edge.bundle import Bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.measure.timing import Configuration, Measurement, equal_tokens, measure
from nextomni_edge.tasks import PLANS

SEED = 1  # forwards.py, by which FAST was chosen, has 0


@dataclass(frozen=True)
class Case:
    """What is timed (a plan of verify's), what scores it, and the settings of its fast way."""

    task: str
    curves: tuple[Curve, ...]
    fast: dict[str, Any]


CASES = (
    Case(
        "text-to-image",
        (Curve("image", "text_to_image_named"),),
        {"steps": 8, "stepper": "corrected"},
    ),
    Case(
        "image-to-text",
        (
            Curve("text", "image_to_text_heldout_artist"),
            Curve("text", "audio_to_text_heldout_voice"),
        ),
        {"steps": 2, "stepper": "euler"},
    ),
)


def timed(model: EdgeModel, case: Case, repeats: int) -> dict[str, Measurement]:
    """By way. SystemExit: the shortcuts changed a token."""
    plan = next(plan for plan in PLANS if plan.name == case.task)
    own = GenerationOptions.defaults(model.config, plan.answer)
    ways = {"plain": own.plain(), "exact": own, "fast": own.changed(**case.fast)}
    sequence = plan.task(model).sequence
    found = measure(
        [Configuration(name, model, sequence, options, 0.0) for name, options in ways.items()],
        repeats,
    )
    if equal_tokens(found[0], found[1]) != 1.0:
        raise SystemExit(f"{case.task}: the shortcuts changed a token")
    return dict(zip(ways, found, strict=True))


def quality(exam: Exam, case: Case, own: GenerationOptions) -> dict[str, dict[str, dict[str, Any]]]:
    """By measure and way; plain's tokens are exact's."""
    ways = {"exact": {"steps": own.steps, "stepper": own.stepper}, "fast": case.fast}
    return {
        curve.measure: {name: score(exam, curve, settings) for name, settings in ways.items()}
        for curve in case.curves
    }


def compared(
    found: dict[str, Measurement], scores: dict[str, dict[str, dict[str, Any]]]
) -> dict[str, Any]:
    """Times as fast as plain, and whether fast stays inside the interval."""
    seconds = {name: float(each.median("processor_seconds") or 0.0) for name, each in found.items()}
    return {
        "processor_ms": {name: 1e3 * value for name, value in seconds.items()},
        "raw_processor_ms": {
            name: [1e3 * run.processor_seconds for run in each.timings]
            for name, each in found.items()
        },
        "forwards": {name: each.timings[-1].counts["forwards"] for name, each in found.items()},
        "times_as_fast": {name: seconds["plain"] / value for name, value in seconds.items()},
        "quality": scores,
        "inside": all(
            ways["fast"]["value"] >= ways["exact"]["ci95"][0] for ways in scores.values()
        ),
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """A line for each task and way."""
    lines = [
        ["task", "way", "forwards", "processor time", "times as fast", "right (95 %)"],
        ["---"] * 2 + ["---:"] * 4,
    ]
    for task, found in results.items():
        for way, ms in found["processor_ms"].items():
            scored = [
                ways["fast" if way == "fast" else "exact"] for ways in found["quality"].values()
            ]
            right = ", ".join(
                f"{s['value']:.2f} ({s['ci95'][0]:.2f} to {s['ci95'][1]:.2f}), n {s['n']}"
                for s in scored
            )
            times = f"{found['times_as_fast'][way]:.2f}"
            lines.append([task, way, str(found["forwards"][way]), f"{ms:.1f} ms", times, right])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure both cases; exits with 1 where fast is below plain's interval."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="demo/bundle where none is given")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    model = EdgeModel.from_bundle(Bundle.open(arguments.bundle or ensure_bundle(BUNDLE, print)))
    exam = Exam(model, Panel(JUDGES), heldout(), trained(), {}, 2, SEED, lambda done, total: None)
    results = {}
    for case in CASES:
        own = GenerationOptions.defaults(model.config, case.curves[0].kind)
        results[case.task] = compared(
            timed(model, case, arguments.repeats), quality(exam, case, own)
        ) | {"fast": case.fast}
    with atomic_write(arguments.out, "w") as file:
        file.write(json.dumps(results, indent=1) + "\n")
    print(table(results))
    if not all(found["inside"] for found in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
