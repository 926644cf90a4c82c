"""What each cache policy gets wrong where it counts: `python benchmarks/caches.py [--bundle DIR]
[-o FILE]`, a table and JSON.

The uncached run decides where tokens go; every policy sees the same x_t at every step and predicts
x_1 with the same noise. A prediction is read where its sub-code jumps in that step, and everywhere
in the last: the share of those that differ from the uncached ones is the error, beside the share of
positions that were computed. So a policy is judged by what the sampler reads, and by its own
predictions alone, not by where a trajectory that left the other one ends.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nextomni_edge.bundle import Bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.flow.noise import Use
from nextomni_edge.generate.batch import Batch, BatchNoise
from nextomni_edge.generate.denoiser import Denoiser
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.stepper import stepper
from nextomni_edge.tasks import PLANS, Plan

DEMO = Path(__file__).resolve().parents[1] / "demo" / "bundle"
TASKS = ("image-to-text", "video-to-text", "text-to-image", "text-to-audio", "text-to-video")
POLICIES: tuple[dict[str, Any], ...] = (
    *({"kv_cache": policy} for policy in ("prefix", "adaptive", "revised")),
    {"kv_cache": "adaptive", "cache_share": 0.25},
    *(
        {"kv_cache": policy, "refresh_prompt": 3, "refresh": 3}
        for policy in ("prefix", "adaptive", "revised")
    ),
    *({"kv_cache": policy, "cache_drift": 2.5} for policy in ("prefix", "adaptive", "revised")),
    {"kv_cache": "revised", "refresh_prompt": 2, "refresh": 2},
    {"kv_cache": "revised", "cache_drift": 1.0},
)


def compared(model: EdgeModel, plan: Plan, seeds: int) -> dict[str, dict[str, float]]:
    """By policy: predictions that were read, the share of them that is wrong, and the share of
    positions computed."""
    options = GenerationOptions.defaults(
        model.config, plan.answer, stop_early=False, reuse_logits=False
    )
    batch = Batch([plan.task(model).sequence] * seeds, list(range(seeds)))
    paths = model.paths(batch.modality)
    noise, step_on = BatchNoise(batch, len(paths)), stepper(options, paths)
    exact, meters = Denoiser(model, batch, options, Meter()), [Meter() for _ in POLICIES]
    settings = [options.changed(**policy) for policy in POLICIES]
    kept = [
        Denoiser(model, batch, given, meter) for given, meter in zip(settings, meters, strict=True)
    ]
    wrong, read, x_t = np.zeros(len(POLICIES)), 0, noise.start(paths)
    for step in range(1, options.steps):
        draw = noise.uniform(step, Use.X_1)
        last = step == options.steps - 1
        x_1, _ = exact.predict(x_t, draw, last=last)
        x_next = step_on(x_t, x_1, step, noise)
        reads = np.ones_like(x_t, np.bool_) if last else x_next != x_t
        read += int(reads.sum())
        for index, denoiser in enumerate(kept):
            due = step_on.due(x_t, denoiser.x_1, step, noise)
            found, _ = denoiser.predict(x_t, draw, due=due, last=last)
            wrong[index] += (found != x_1)[reads].sum()
        x_t = x_next
    return {
        ", ".join(f"{name} {value}" for name, value in policy.items()): {
            "read": read, "wrong": float(wrong[index] / read),
            "computed": meter.rows / meter.rows_of_full_forwards,
        }
        for index, (policy, meter) in enumerate(zip(POLICIES, meters, strict=True))
    }  # fmt: skip


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A line for each policy, a column for each task: wrong predictions of those read, and
    positions computed."""
    lines = [["policy", *results], ["---", *["---:"] * len(results)]]
    for name in next(iter(results.values())):
        cells = [
            f"{found[name]['wrong']:.1%} of {found[name]['computed']:.0%}"
            for found in results.values()
        ]
        lines.append([f"`{name}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure every task and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument("--seeds", type=int, default=8, help="requests of each task")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    if not arguments.bundle.is_dir():
        sys.exit(
            f"{arguments.bundle}: no bundle; make one with `make demo`, or name another with"
            " --bundle"
        )
    model = EdgeModel.from_bundle(Bundle.open(arguments.bundle))
    results = {
        plan.name: compared(model, plan, arguments.seeds) for plan in PLANS if plan.name in TASKS
    }
    with atomic_write(arguments.out, "w") as file:
        file.write(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
