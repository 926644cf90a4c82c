"""Bits for each layer by their cost: the measured divergence of each layer by itself, against the
bytes that it saves.

A layer goes from float to INT8 to INT4. Steps are taken in order of divergence per saved byte, the
cheapest first. They stop when the budget is met, or before the measured divergence of the whole
passes its bound.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Final

from nextomni_edge.bundle import Decision
from nextomni_edge.calibration.job import SHARE, Entries, Job, Plan
from nextomni_edge.calibration.layers import Layer
from nextomni_edge.calibration.recipes.config import Mixed, QuantConfig
from nextomni_edge.calibration.recipes.handlers import decide
from nextomni_edge.calibration.report.divergence import Divergence, Gate
from nextomni_edge.calibration.workspace import Entry
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.spec import ComponentName

# p_{1|t} is a matter of codes: what makes and shows them does not enter it. They go to INT8, which
# was measured to keep the codes.
OUTSIDE: Final = (
    ComponentName.IMAGE_ENCODER, ComponentName.IMAGE_DECODER, ComponentName.IMAGE_QUANTISER,
    ComponentName.AUDIO_ENCODER, ComponentName.AUDIO_DECODER, ComponentName.AUDIO_QUANTISER,
    *ComponentName.SPEECH,
)  # fmt: skip
WIDTHS: Final = {"float32": 4, "float16": 2}


@dataclass(frozen=True)
class Choice:
    """One way to store a layer: `entry` None leaves it float. `divergence` is its cost by itself,
    in nats per draw."""

    bytes: int
    divergence: float
    entry: Entry | None = None


@dataclass(frozen=True)
class Step:
    """One layer's step to a smaller choice."""

    layer: str
    choice: Choice


def solve(
    job: Job, config: Mixed, parent: EdgeModel, alone: Divergence, whole: Divergence
) -> dict[str, Entry]:
    """The layers to quantise, with their choices. `alone` measures one layer, `whole` all of them
    together.

    UsageError: the budget cannot be met (the smallest possible size is named).
    """
    eight, four = (job.entries(_plan(job, config, kind)) for kind in (config.int8, config.int4))
    fixed = {
        layer.name: eight[layer.name]
        for layer in job.layers
        if layer.component in OUTSIDE and layer.name in eight
    }
    free = [layer for layer in job.layers if layer.component not in (*OUTSIDE, *config.skip)]
    ways = {
        layer.name: [found[layer.name] for found in (eight, four) if layer.name in found]
        for layer in free
    }
    if config.budget_bytes is not None:
        require_room(job, config.budget_bytes, fixed | smallest(job, free, ways))
    choices = {layer.name: _choices(job, layer, ways[layer.name], parent, alone) for layer in free}
    steps = path(choices)

    def after(count: int) -> dict[str, Entry]:
        return fixed | {
            step.layer: step.choice.entry for step in steps[:count] if step.choice.entry is not None
        }

    if config.budget_bytes is not None:
        return after(_fewest(job, config.budget_bytes, len(steps), after))
    gate = Gate(config.max_kl, config.max_flips)
    return after(_most(job, gate, len(steps), after, parent, whole))


def _plan(job: Job, config: Mixed, kind: QuantConfig) -> Plan:
    found: dict[str, Decision] = {}
    for layer in job.layers:
        own = config.media if config.media is not None and layer.component in OUTSIDE else kind
        decision = decide(own, layer) if layer.component not in config.skip else None
        if decision is not None:
            found[layer.name] = decision
    return found


def float_bytes(job: Job, layer: Layer) -> int:
    """Bytes of a layer in float."""
    return (
        math.prod(layer.shape) * WIDTHS[job.parent.manifest.components[layer.component].precision]
    )


def smallest(job: Job, layers: Many[Layer], ways: Mapping[str, list[Entry]]) -> dict[str, Entry]:
    """Every layer in its smallest form, where that saves anything."""
    least = {
        layer.name: min(ways[layer.name], key=lambda way: way.decision.bytes)
        for layer in layers
        if ways[layer.name]
    }
    bytes_of = {layer.name: float_bytes(job, layer) for layer in layers}
    return {name: entry for name, entry in least.items() if entry.decision.bytes < bytes_of[name]}


def require_room(job: Job, budget: int, least: Entries) -> None:
    """UsageError: not even the smallest bundle is within the budget. It is raised before anything
    is measured."""
    size = job.size(least)
    if size > budget:
        raise UsageError(
            f"a budget of {budget:,} bytes cannot be met: the smallest possible bundle has {size:,}"
        )


def _choices(
    job: Job, layer: Layer, entries: list[Entry], parent: EdgeModel, divergence: Divergence
) -> list[Choice]:
    """The choices from float to the smallest. Results of an earlier run are not measured again."""
    found = [Choice(float_bytes(job, layer), 0.0)]
    for entry in {entry.decision.bits: entry for entry in entries}.values():
        key = f"{layer.name}@{entry.decision.bits}"
        if entry.decision.divergence is None:
            job.progress(f"measure {layer.name} at {entry.decision.bits} bits", SHARE)
            cost = divergence.of(variant(job, parent, {layer.name: entry})).kl
            entry = job.workspace.mark(
                key,
                dataclasses.replace(
                    entry, decision=dataclasses.replace(entry.decision, divergence=cost)
                ),
            )
        assert entry.decision.divergence is not None  # measured above
        found.append(Choice(entry.decision.bytes, entry.decision.divergence, entry))
    return found


def variant(job: Job, parent: EdgeModel, entries: Entries) -> EdgeModel:
    """The parent with some layers quantised. Components without such layers are the parent's
    own."""
    changed = {name.partition("/")[0] for name in entries}
    found = EdgeModel.from_bundle(job.parent)
    for component in job.parent.manifest.components:
        if component not in OUTSIDE:
            found.sessions[component] = (
                job.session(component, entries)
                if component in changed
                else parent.session(component)
            )
    return found


def path(choices: Mapping[str, list[Choice]]) -> list[Step]:
    """Steps from all float to all smallest. Each takes the least divergence per saved byte."""
    current, steps = dict.fromkeys(choices, 0), list[Step]()
    while True:
        best: tuple[float, str, int] | None = None
        for layer, own in choices.items():
            now = own[current[layer]]
            for index in range(current[layer] + 1, len(own)):
                if (saved := now.bytes - own[index].bytes) > 0:
                    rate = max(0.0, own[index].divergence - now.divergence) / saved
                    best = min(best, (rate, layer, index)) if best else (rate, layer, index)
        if best is None:
            return steps
        _, layer, index = best
        current[layer] = index
        steps.append(Step(layer, choices[layer][index]))


def _fewest(job: Job, budget: int, count: int, after: Callable[[int], dict[str, Entry]]) -> int:
    """The fewest steps that meet the budget, by bisection: each step makes the bundle smaller."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if job.size(after(middle)) <= budget:
            high = middle
        else:
            low = middle + 1
    return low


def _most(
    job: Job,
    gate: Gate,
    count: int,
    after: Callable[[int], dict[str, Entry]],
    parent: EdgeModel,
    divergence: Divergence,
) -> int:
    """The most steps that together pass the gate. No steps always do."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        job.progress(f"measure {middle} of {count} steps", SHARE)
        if not gate.missed(divergence.of(variant(job, parent, after(middle)))):
            low = middle
        else:
            high = middle - 1
    return low
