"""`train --dry-run`: what each stage of a recipe takes, without training anything."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nextomni_edge.cli.console import Console
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.measure import Device
    from nextomni_edge.train.planning import Memory, StagePlan

PROCESSES: Final = (1, 8, 64, 256)  # numbers of devices that are shown besides the one asked for
DAY: Final = 86_400
COLUMNS: Final = (
    "devices", "weights", "gradients", "optimiser", "average", "gathered", "activations",
    "recomputed", "needed", "fits", "days at least",
)  # fmt: skip
LEGEND: Final = (
    "GB on each device. gathered: what FSDP2 holds whole for a while, or a copy of the gradients"
    " without shard.\n"
    "activations: of the largest batch, kept; recomputed: with recompute. needed: as the stage"
    " declares shard and recompute.\n"
    "Without a fused kernel for attention's mask, its scores come on top of what is kept.\n"
    "days at least: operations / (devices × the device's rate). Every sequence counts at its whole"
    " context."
)


def print_dry_run(console: Console, recipe: Path, processes: int, device: str) -> None:
    """The plan of every stage. InputError: the recipe declares none."""
    from nextomni_edge.measure import DEVICES
    from nextomni_edge.measure.probe import probe
    from nextomni_edge.train.planning import Planner
    from nextomni_edge.train.stages import recipe_config, recipe_stages

    declared, config = recipe_stages(recipe), recipe_config(recipe)
    where = probe() if device == "cpu" else DEVICES[device]
    planner, plans = Planner(config), []
    with console.progress("stages") as advance:
        for place, stage in enumerate(declared.stages):
            advance(place, len(declared.stages), stage.name)
            plans.append(planner.plan(stage))
    data = [as_json(each, where, processes) for each in plans]
    text = [as_text(each, where, processes) for each in plans]
    header = f"{where.name}: {where.memory / 1e9:.3g} GB\n  {where.source}"
    console.result(
        {"device": {"name": where.name, "memory": where.memory}, "stages": data},
        "\n\n".join([header, *text, LEGEND]),
    )


def shown(found: StagePlan, asked: int) -> list[Memory]:
    """The numbers of devices that can share out a step, and what each device then holds.
    UsageError: the number asked for cannot."""
    stage = found.stage
    stage.options(asked)

    def can(processes: int) -> bool:
        try:
            return bool(stage.options(processes))
        except UsageError:
            return False

    return [found.memory(each) for each in sorted({*PROCESSES, asked}) if can(each)]


def days(found: StagePlan, where: Device, processes: int) -> float:
    """No training is faster: the device's rate is its peak."""
    rate = where.operations["float16" if found.stage.precision == "bf16" else "float32"]
    return found.operations / (rate * processes) / DAY


def needed(found: StagePlan, memory: Memory) -> int:
    return memory.total(found.stage.recompute)


def as_json(found: StagePlan, where: Device, processes: int) -> dict[str, Any]:
    stage = found.stage
    rows = [
        dataclasses.asdict(memory)
        | {
            "needed": needed(found, memory),
            "fits": needed(found, memory) <= where.memory - where.reserved,
            "days_at_least": days(found, where, memory.processes),
        }
        for memory in shown(found, processes)
    ]
    return {
        "stage": dataclasses.asdict(stage),
        "parameters": found.counts.parameters,
        "trained": found.counts.trained,
        "tokens": stage.tokens,
        "operations": found.operations,
        "attention_scores": found.scores,
        "devices": rows,
    }


def as_text(found: StagePlan, where: Device, processes: int) -> str:
    """A stage in lines."""
    stage, counts = found.stage, found.counts
    each = f"sequences of {stage.context:,} rows" if stage.context else "media"
    tokens = f" = {_billions(stage.tokens)} tokens" if stage.tokens else ""
    precision = "bf16" if stage.precision == "bf16" else "float32"
    shard, recompute = ("on" if each else "off" for each in (stage.shard, stage.recompute))
    mixture = ", ".join(f"{own.name} {own.weight}" for own in stage.mixture)
    trained = f"{_billions(counts.parameters)} parameters, {_billions(counts.trained)} trained"
    schedule = f"rate {stage.rate:g}, warm-up {stage.warm_up:,}, decay {stage.decay:g}"
    scores = f"attention's scores: {found.scores / 1e9:.3g} GB"
    named = ", ".join(stage.accounts)
    known = [f"  from accounts of the paper: {named}; the other figures are the recipe's own"]
    known *= bool(named)
    lines = [
        f"stage {stage.name}: {trained}",
        f"  {stage.steps:,} steps of {stage.sequences:,} {each}{tokens}",
        f"  {schedule}; {found.operations:.3g} operations",
        f"  mixture: {mixture}",
        *known,
        f"  precision {precision}, shard {shard}, recompute {recompute}; {scores}",
    ]
    rows = [COLUMNS, *(_row(found, where, memory) for memory in shown(found, processes))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([*lines, *table])


def _billions(count: int) -> str:
    return f"{count / 1e9:.4g} B" if count >= 10**8 else f"{count:,}"


def _row(found: StagePlan, where: Device, memory: Memory) -> tuple[str, ...]:
    sizes = (
        memory.weights, memory.gradients, memory.optimiser, memory.average, memory.gathered,
        memory.activations, memory.activations_recomputed, needed(found, memory),
    )  # fmt: skip
    fits = needed(found, memory) <= where.memory - where.reserved
    return (
        str(memory.processes),
        *(f"{size / 1e9:.3g}" for size in sizes),
        "yes" if fits else "no",
        f"{days(found, where, memory.processes):.3g}",
    )
