"""The flow step's share of a step at the sizes of NExT-OMNI and of FUDOKI:
`python benchmarks/flow_share.py`, writes flow_share.json next to it.

The flow step is run as the loop runs it, over a whole trajectory in which a share of the
predictions x_1 becomes another id in every step: as many as were counted on the demo model (0.03 of
greedy text, 0.7 of images). The rest of a step is the matrix products of the backbone (and of the
text head) alone, one layer measured and multiplied: norms, softmax, the light heads and all
overhead are left out, so the share is an upper bound. Times are processor time of one thread:
others may share the core.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nextomni_edge.files import atomic_write
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Use
from nextomni_edge.flow.sampling import sample_x_1
from nextomni_edge.flow.schedule import MetricSchedule
from nextomni_edge.generate.batch import Batch, BatchNoise
from nextomni_edge.generate.model import KEPT_ROWS_BYTES
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.stepper import stepper
from nextomni_edge.tokens.sequence import Segment, Sequence

PROMPT = 128
STEPS = 32


@dataclass(frozen=True)
class Shape:
    """A Qwen2-type backbone: Qwen2.5's sizes, and FUDOKI's of 1.5 B."""

    name: str
    hidden: int
    layers: int
    cache: int
    mlp: int


SMALL, LARGE = Shape("0.5B", 896, 24, 128, 4864), Shape("7B", 3584, 28, 512, 18944)
FUDOKI = Shape("1.5B", 2048, 24, 2048, 5632)


@dataclass(frozen=True)
class Case:
    """What is generated: `rows` positions of `codebooks` sub-codes out of `entries`, in `branches`
    of guidance."""

    name: str
    rows: int
    codebooks: int
    entries: int
    metric_dim: int
    branches: int
    head: bool  # whether the head is a product with the whole vocabulary
    changes: float  # of the predictions in a step
    shapes: tuple[Shape, ...]


CASES = (
    Case("text", 64, 1, 152_064, 64, 1, True, 0.03, (SMALL, LARGE)),
    Case("image", 576, 4, 4096, 16, 2, False, 0.7, (SMALL, LARGE)),
    # a metric table as wide as the language model's own
    Case("text of FUDOKI", 64, 1, 102_400, 2048, 1, True, 0.03, (FUDOKI,)),
    Case("wide text", 64, 1, 152_064, 3584, 1, True, 0.03, (LARGE,)),
)


def seconds_of_product(rows: int, inner: int, columns: int) -> float:
    """Of (rows, inner) × (inner, columns) in float32, the faster of two."""
    rng = np.random.default_rng(0)
    one, other = (
        rng.standard_normal((rows, inner), np.float32),
        rng.standard_normal((inner, columns), np.float32),
    )
    found = []
    for _ in range(2):
        began = time.process_time()
        np.matmul(one, other)
        found.append(time.process_time() - began)
    return min(found)


def products(shape: Shape, case: Case) -> float:
    """Seconds of a forward's matrix products, and of the head's on the generated rows."""
    length = PROMPT + case.rows
    widths = [
        (shape.hidden, shape.hidden),
        (shape.hidden, 2 * shape.cache),
        (shape.hidden, shape.hidden),
    ]
    widths += [(shape.hidden, 2 * shape.mlp), (shape.mlp, shape.hidden)]
    layer = sum(seconds_of_product(length * case.branches, *width) for width in widths)
    layer += case.branches * (
        seconds_of_product(length, shape.hidden, length)
        + seconds_of_product(length, length, shape.hidden)
    )
    head = seconds_of_product(case.rows, shape.hidden, case.entries // 8) * 8 if case.head else 0.0
    return shape.layers * layer + head


@dataclass(frozen=True)
class Trajectory:
    """Seconds of the paths' part of a load, of every flow step and of every draw; and how many
    sub-codes jumped in all."""

    load: float
    flow: list[float]
    draws: list[float]
    jumps: int


def trajectory(case: Case, steps: int) -> Trajectory:
    """A whole trajectory's times."""
    rng = np.random.default_rng(1)
    modality = "text" if case.codebooks == 1 else "image"
    tables = rng.standard_normal((case.codebooks, case.entries, case.metric_dim), np.float32)
    began = time.process_time()
    paths = tuple(
        MetricPath(table, MetricSchedule(), KEPT_ROWS_BYTES // case.codebooks) for table in tables
    )
    load = time.process_time() - began
    options = GenerationOptions(steps=steps)
    tokens = (
        np.zeros(case.rows, np.int64)
        if modality == "text"
        else np.zeros((case.rows, case.codebooks), np.int64)
    )
    noise = BatchNoise(
        Batch([Sequence((Segment(modality, tokens, frozen=False),))], [0]), case.codebooks
    )
    step_on, x_t = stepper(options, paths), noise.start(paths)
    x_1 = rng.integers(0, case.entries, x_t.shape)
    logits = rng.standard_normal((case.rows * case.codebooks, case.entries), np.float32)
    flow, draws, jumps = [], [], 0
    for step in range(1, steps - 1):
        x_1 = np.where(
            rng.random(x_t.shape) < case.changes, rng.integers(0, case.entries, x_t.shape), x_1
        )
        began = time.process_time()
        x_next = step_on(x_t, x_1, step, noise)
        flow.append(time.process_time() - began)
        began = time.process_time()
        sample_x_1(logits, noise.uniform(step, Use.X_1).ravel(), 0.0 if modality == "text" else 1.0)
        draws.append(time.process_time() - began)
        jumps += int((x_next != x_t).sum())
        x_t = x_next
    return Trajectory(load, flow, draws, jumps)


def measured(case: Case, steps: int) -> dict[str, Any]:
    """One case against every shape."""
    found = trajectory(case, steps)
    mean, draw = statistics.mean(found.flow), statistics.mean(found.draws)
    told: dict[str, Any] = {
        **{name: value for name, value in asdict(case).items() if name != "shapes"},
        "steps": steps,
        "load_ms": 1e3 * found.load,
        "flow_ms": 1e3 * mean,
        "largest_flow_ms": 1e3 * max(found.flow),
        "draw_ms": 1e3 * draw,
        "jumps": found.jumps,
    }
    for shape in case.shapes:
        rest = products(shape, case) + draw
        told[shape.name] = {
            "products_ms": 1e3 * (rest - draw),
            "share": mean / (rest + mean),
            "largest_share": max(found.flow) / (rest + max(found.flow)),
        }
    return told


def main() -> None:
    """Measure every case against its backbones and write flow_share.json next to this file."""
    if os.environ.get("OMP_NUM_THREADS") != "1":  # which counts when numpy is imported
        os.execve(
            sys.executable, [sys.executable, __file__], {**os.environ, "OMP_NUM_THREADS": "1"}
        )
    cases = [measured(case, STEPS) for case in CASES]
    with atomic_write(Path(__file__).with_suffix(".json"), "w") as file:
        file.write(json.dumps({"machine": platform.machine(), "cases": cases}, indent=1) + "\n")
    for case in cases:
        print(json.dumps(case))


if __name__ == "__main__":
    main()
