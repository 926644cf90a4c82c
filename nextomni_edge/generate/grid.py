"""Uneven grids of times, with steps where tokens jump. They are found from runs on a fine grid."""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.schedule import grid
from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.tokens.sequence import Sequence


def count_jumps(
    model: EdgeModel, sequences: Many[Sequence], options: GenerationOptions, seeds: Many[int]
) -> Float:
    """The number of sub-codes (steps,) that changed in each step of these runs, over all requests.
    `options` give a fine grid."""
    jumps = np.zeros(options.steps)
    before: dict[int, StepRecord] = {}

    def watch(record: StepRecord) -> None:
        if record.request in before:
            jumps[record.step - 1] += _changed(before[record.request].x_t, record.x_t)
        before[record.request] = record

    finished = generate_batch(model, sequences, options, seeds, watch)
    for request, sequence in enumerate(finished):
        last = tuple(sequence.segments[index].tokens for index in sequence.generated())
        jumps[before[request].step] += _changed(before[request].x_t, last)
    return jumps


def equal_jumps(jumps: Float, times: Many[float], steps: int) -> tuple[float, ...]:
    """The grid of `steps` steps with equally many expected jumps each, from the jumps (n,) between
    `times` (n+1,).

    UsageError: nothing jumped, or fewer than one step.
    """
    wanted = grid(steps)
    if not jumps.sum() > 0:
        raise UsageError(
            "no token jumped in the runs that the grid is to be found from: give them more steps"
        )
    expected = np.concatenate([[0.0], np.cumsum(jumps)]) / jumps.sum()
    rising = np.concatenate([np.diff(expected) > 0, [True]])  # no step ends where nothing jumps
    found = np.interp(wanted, expected[rising], np.asarray(times)[rising])
    return (0.0, *found[1:-1].tolist(), 1.0)


def _changed(one: tuple[Float, ...], other: tuple[Float, ...]) -> int:
    return sum(int((a != b).sum()) for a, b in zip(one, other, strict=True))
