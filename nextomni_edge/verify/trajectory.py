"""One whole generation, recorded, and compared with another run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nextomni_edge.generate.autoregressive import greedy
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.steps import NOT_DRAWN, StepRecord
from nextomni_edge.tasks import Task
from nextomni_edge.tokens.omnidiffusion import content, with_a_code
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.verify.comparison import (
    Array,
    NearTie,
    TaskResult,
    first_differences,
    tie,
    within,
)


@dataclass(frozen=True)
class Trajectory:
    """Per generated segment, over the executed steps: x_t and x_1 (steps,n[,K]) int64, x_1 = −1
    where none was drawn; the margins of the draws, infinite there; the tokens at the end (n[,K]);
    pixels or waveforms, float32 (empty for text)."""

    x_t: tuple[Array, ...]
    x_1: tuple[Array, ...]
    margins: tuple[Array, ...]
    tokens: tuple[Array, ...]
    decoded: tuple[Array, ...]


def run(model: EdgeModel, task: Task) -> Trajectory:
    """Generate and record. NonFiniteError: a component gave NaN or infinity."""
    records: list[StepRecord] = []
    if model.config.causal:
        finished = greedy(model, [task.sequence], records.append)[0]
    else:
        finished = generate(model, task.sequence, task.options, records.append)
    segments = range(len(records[0].x_t))
    x_t = tuple(np.stack([record.x_t[i] for record in records]) for i in segments)
    x_1 = tuple(
        np.stack(
            [
                record.x_1[i] if record.x_1 else np.full_like(record.x_t[i], NOT_DRAWN)
                for record in records
            ]
        )
        for i in segments
    )
    margins = tuple(
        np.stack(
            [
                record.margins[i] if record.margins else np.full(record.x_t[i].shape, np.inf)
                for record in records
            ]
        )
        for i in segments
    )
    tokens = tuple(finished.segments[index].tokens for index in task.sequence.generated())
    return Trajectory(x_t, x_1, margins, tokens, _decoded(model, finished, task))


def _decoded(model: EdgeModel, finished: Sequence, task: Task) -> tuple[Array, ...]:
    if task.modality == "text":
        return ()
    tokens = [finished.segments[index].tokens for index in task.sequence.generated()]
    if model.config.mixes:
        shown = with_a_code(task.modality, tokens[0], model.config)
        part = content(task.modality, shown, model.config)
        return (model.decode(task.modality, np.asarray(part.value)),)
    if model.config.network == "unified":
        return (model.decode_image(model.image_grid(tokens)),)
    return tuple(model.decode(task.modality, codes) for codes in tokens)


def compare(
    name: str,
    found: Trajectory,
    expected: Trajectory,
    result: TaskResult,
    near: float | None = None,
) -> list[str]:
    """Failures; none if every token is the same at every step up to the first draw at a tie.
    `result` is filled.

    A draw may differ where its margin in the expected run is within `near`, by default the
    arithmetic's `tie`. What follows such a draw
    is another trajectory. It is not compared, and the tie is listed.
    """
    result.all_draws = sum(int((x_1 != NOT_DRAWN).sum()) for x_1 in expected.x_1)
    steps = min(len(found.x_t[0]), len(expected.x_t[0]))
    for step in range(steps):
        for segment, (ours, theirs) in enumerate(zip(found.x_t, expected.x_t, strict=True)):
            if not np.array_equal(ours[step], theirs[step]):
                return [
                    (
                        f"{name}: x_t of segment {segment} differs at step {step} though every draw"
                        " before it is the same"
                    )
                ]
        failures = _compare_draws(
            name, step, found, expected, result, tie(result.arithmetic) if near is None else near
        )
        if failures or result.near_ties:
            return failures
    if len(found.x_t[0]) != len(expected.x_t[0]):
        return [f"{name}: {len(found.x_t[0])} steps were run, expected {len(expected.x_t[0])}"]
    if not all(
        np.array_equal(ours, theirs)
        for ours, theirs in zip(found.tokens, expected.tokens, strict=True)
    ):
        return [f"{name}: the tokens at the end differ though every step is the same"]
    return []


def _way_out(arithmetic: str) -> str:
    """What a person can do about a draw that rounding changed."""
    if arithmetic != "float16":
        return ""
    return (
        "; float16 rounds too much for this draw: export with --precision float32, or accept what"
        " float16 draws with --verify golden"
    )


def _compare_draws(
    name: str,
    step: int,
    found: Trajectory,
    expected: Trajectory,
    result: TaskResult,
    near: float,
) -> list[str]:
    failures: list[str] = []
    result.steps += 1
    for segment, (ours, theirs, margins) in enumerate(
        zip(found.x_1, expected.x_1, expected.margins, strict=True)
    ):
        result.draws += int((theirs[step] != NOT_DRAWN).sum())
        smallest = float(margins[step].min())
        if np.isfinite(smallest):
            result.smallest_margin = min(
                smallest, result.smallest_margin if result.smallest_margin is not None else smallest
            )
        for row, code in first_differences(ours[step], theirs[step]):
            margin = float(margins[step].reshape(len(margins[step]), -1)[row, code])
            where = f"step {step}, segment {segment}, row {row}, sub-code {code}"
            if within(margin, near):
                result.near_ties.append(NearTie(where, margin))
            else:
                failures.append(
                    f"{name}: x_1 differs at {where}, where no tie was near (margin {margin:.3g},"
                    f" tie {near:.0e}){_way_out(result.arithmetic)}"
                )
    return failures
