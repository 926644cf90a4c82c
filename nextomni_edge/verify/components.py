"""One component, run on given inputs and compared with another run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import NextOmniError
from nextomni_edge.runtimes.base import Session
from nextomni_edge.spec import Wire
from nextomni_edge.verify.comparison import (
    Array,
    ComponentResult,
    NearTie,
    error,
    log_mel_error,
    tie,
    within,
)

OUTPUT_OF = "output_of."  # likewise: what a static convolution gave, rounded
# before a quantised weight: the name of what its layer read (see recorder.py)
INPUT_OF = "input_of."
# next to the outputs: how much nearer the chosen code was than the next
MARGINS = "margins"


def compare(
    session: Session,
    case: str,
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    result: ComponentResult,
    config: ModelConfig,
) -> tuple[list[str], dict[str, Array]]:
    """Failures of one case, and the session's outputs.

    Every float output must be within `result.limit`, and every code must be the same except at
    ties. NaN, infinity and a session's errors fail. `expected` may hold the codes' margins under
    `MARGINS`; without them no code may differ.
    """
    name = session.spec.name
    try:
        found = session.run(inputs)
    except NextOmniError as failure:
        return [f"{failure} ({case})"], {}
    result.cases += 1
    failures: list[str] = []
    for tensor in session.spec.outputs:
        ours, theirs = found[tensor.name], expected[tensor.name]
        if tensor.name == Wire.CODES:
            failures += _compare_codes(name, case, ours, theirs, expected.get(MARGINS), result)
            continue
        measured = error(ours, theirs)
        result.error = float(np.maximum(result.error, measured))  # keeps a NaN
        if tensor.name == Wire.WAVEFORM and np.isfinite(measured):
            result.log_mel_error = max(
                result.log_mel_error or 0.0, log_mel_error(ours, theirs, config.audio)
            )
        if not within(measured, result.limit):
            failures.append(
                f"{name}: {tensor.name} differs by {measured:.3g} of its scale, at most"
                f" {result.limit:.0e} is allowed ({case})"
            )
    return failures, found


def _compare_codes(
    name: str, case: str, ours: Array, theirs: Array, margins: Array | None, result: ComponentResult
) -> list[str]:
    if ours.shape != theirs.shape:
        return [f"{name}: codes of shape {ours.shape}, expected {theirs.shape} ({case})"]
    result.codes += theirs.size
    failures: list[str] = []
    near = tie(result.arithmetic)
    for place in map(tuple, np.argwhere(ours != theirs)):
        where = f"{case}, batch {place[0]}, row {place[1]}, sub-code {place[2]}"
        margin = float("inf") if margins is None else float(margins[place])
        if within(margin, near):
            result.near_ties.append(NearTie(where, margin))
        else:
            failures.append(
                f"{name}: the code differs at {where}, where no tie was near (margin {margin:.3g},"
                f" tie {near:.0e})"
            )
    return failures
