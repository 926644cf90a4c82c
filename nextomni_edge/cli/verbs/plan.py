"""`bench --plan`: what a model will take on a device, with the formula that says so."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.console import Console
from nextomni_edge.errors import InputError, UsageError

if TYPE_CHECKING:
    from nextomni_edge.config import ModelConfig
    from nextomni_edge.measure import Estimate, Step
    from nextomni_edge.measure.weights import Precision
    from nextomni_edge.tasks import Plan

Command = TypeVar("Command", bound=Callable[..., object])

DEVICES: Final = ("orin-nano-8gb", "orin-agx", "rtx-4060", "h100", "iphone", "cpu")
PRECISIONS: Final = ("float32", "float16", "int8", "int4")


@dataclass(frozen=True)
class Planned:
    """What a plan is asked for: `given` positions of prompt stand before what the task answers."""

    device: str = "cpu"
    precision: str | None = None
    given: int = 32


def plan_options(command: Command) -> Command:
    """Give a command --plan and what belongs to it; it receives `planned`, None without --plan.
    UsageError: the rest without it."""

    @click.option(
        "--plan",
        is_flag=True,
        help=(
            "Run nothing. Estimate the memory and the highest speed of one step of --task on"
            " --device. BUNDLE is a bundle, a model directory, your own config.json or a known name"
            " such as nextomni-7b."
        ),
    )
    @click.option(
        "--device",
        type=click.Choice(DEVICES),
        help="With --plan: the device. cpu is this machine, measured now.  [default: cpu]",
    )
    @click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="With --plan of a config: how weights are stored.  [default: int4]",
    )
    @click.option(
        "--given",
        type=numbers.OPTIONAL_COUNT,
        help="With --plan: positions of the prompt.  [default: 32]",
    )
    @functools.wraps(command)
    def with_plan(
        *args: Any,
        plan: bool,
        device: str | None,
        precision: str | None,
        given: int | None,
        **options: Any,
    ) -> object:
        asked = {"device": device, "precision": precision, "given": given}
        named = {name: value for name, value in asked.items() if value is not None}
        if named and not plan:
            raise UsageError(f"--{next(iter(named))} is of a plan; add --plan")
        return command(*args, planned=Planned(**named) if plan else None, **options)  # type: ignore[arg-type]

    return with_plan  # type: ignore[return-value]


def print_plan(console: Console, models: tuple[Path, ...], task: Plan, planned: Planned) -> None:
    """The estimate of a step of each model."""
    from nextomni_edge.measure import DEVICES as KNOWN
    from nextomni_edge.measure import estimate
    from nextomni_edge.measure.probe import probe

    where = probe() if planned.device == "cpu" else KNOWN[planned.device]
    found = []
    for model in models:
        config, weights, stored = weighed(model, planned.precision)
        found.append(
            (model, estimate(config, weights, stored, step_of(task, config, planned.given), where))
        )
    data = [{"model": str(model)} | each.to_json() for model, each in found]
    console.result({"plans": data}, "\n\n".join(f"{model}\n{text(each)}" for model, each in found))


def weighed(model: Path, precision: str | None) -> tuple[ModelConfig, dict[str, int], Precision]:
    """Config, bytes by component, and precision: of a bundle's own files, or of a config (its file,
    its folder, or a known name).

    UsageError: a precision for a bundle, which has its own; a name that is neither. InputError: the
    file is absent, or no config of a model directory.
    """
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.bundle.manifest import MANIFEST
    from nextomni_edge.config import ModelConfig, named_config
    from nextomni_edge.measure import bundle_weights, config_weights

    if (model / MANIFEST).is_file():
        if precision:
            raise UsageError(
                f"--precision {precision}: {model} is a bundle and has its own; leave it out"
            )
        bundle = Bundle.open(model, verify_hashes=False)
        return bundle.config, *bundle_weights(bundle)
    file = model / "config.json" if model.is_dir() else model
    if not file.is_file() and file.name != str(model):
        raise InputError(f"{file}: no such file; expected a model's config.json, or its folder")
    try:
        config = ModelConfig.load(file) if file.is_file() else named_config(str(model))
    except InputError as error:
        raise InputError(
            f"{file}: {error}; expected the config.json of a model directory, as `train` and"
            " `import` write it"
        ) from error
    chosen: Precision = precision or "int4"  # type: ignore[assignment]
    return config, config_weights(config, chosen), chosen


def step_of(task: Plan, config: ModelConfig, given: int) -> Step:
    """One step of what the task answers: a block of text, an image, or the longest clip."""
    from nextomni_edge.measure import Step
    from nextomni_edge.modalities.table import MODALITIES

    record = MODALITIES[task.answer]
    shape = record.shape(config, record.usual(config))
    length = math.prod(shape[:-1] if record.codec else shape)
    branches = 2 if config.path(record.segments).guidance else 1
    return Step(record.segments, given, length, branches)


def text(found: Estimate) -> str:
    """The estimate in lines, each bound with its numbers."""
    from nextomni_edge.measure import FORMULA

    device, step, rate = found.device, found.step, found.device.operations[found.precision]
    bandwidth, speed = f"{device.bandwidth / 1e9:.3g} GB/s", f"{rate / 1e12:.3g} T/s"
    lines = [
        f"{device.name}: {device.memory / 1e9:.3g} GB, {bandwidth}, {speed} at {found.precision}",
        f"  {device.source}",
        (
            f"step: {step.given} + {step.generated} positions of {step.modality}, {step.branches}"
            f" branch{'es' * (step.branches > 1)}"
        ),
        (
            f"weights: {found.stored / 1e9:.3g} GB in all, {found.resident / 1e9:.3g} GB of them"
            " loaded for this"
        ),
        f"states: {found.states / 1e9:.3g} GB, activations: {found.activations / 1e9:.3g} GB",
        (
            f"needed: {found.needed / 1e9:.3g} GB of {found.available / 1e9:.3g} GB:"
            f" {'fits' if found.fits else 'does not fit'}"
        ),
        FORMULA,
        (
            f"  = max({found.read / 1e9:.3g} GB / {bandwidth}, {found.operations / 1e12:.3g} T /"
            f" {speed})"
        ),
        (
            f"  = max({found.memory_seconds:.3g}, {found.arithmetic_seconds:.3g}) ="
            f" {found.seconds:.3g}"
        ),
        f"steps per second ≤ {1 / found.seconds:.3g}",
    ]
    return "\n".join(lines)
