"""`bench`: how fast bundles generate, part by part, and against what."""

from __future__ import annotations

import dataclasses
import difflib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.cli.generation import generation_options, request_of
from nextomni_edge.cli.model import choose_runtime, open_model, provider_options
from nextomni_edge.cli.verbs.choose import choose_and_keep
from nextomni_edge.cli.verbs.plan import Planned, plan_options, print_plan
from nextomni_edge.cli.verbs.timings import forward_results, forward_text, results, table
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.api.settings import Request
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.measure.timing import Configuration, Measurement
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tasks import Plan

FORWARDS: Final = 3  # to each generation: they are short
SWITCHES: Final = {"on": True, "off": False}


@click.command()
@click.argument("bundles", type=BUNDLE, nargs=-1, required=True, metavar="BUNDLE...")
@click.option(
    "--task",
    "task_name",
    default="text-to-image",
    show_default=True,
    help="What to generate, such as image-to-text.",
)
@click.option(
    "--repeats",
    type=numbers.Whole(1, 10_000),
    default=5,
    show_default=True,
    help="Timed generations of each bundle.",
)
@click.option(
    "--warm-up",
    type=numbers.Whole(0, 1000),
    default=1,
    show_default=True,
    help="Untimed generations of each bundle before the timed ones.",
)
@click.option(
    "--baseline",
    is_flag=False,
    flag_value="plain",
    metavar="[SETTINGS]",
    help=(
        "Also time each BUNDLE with these settings, in turn: plain (no shortcut at all, the"
        " default), or for example steps=32,stepper=euler."
    ),
)
@click.option(
    "--rows",
    metavar="N,N,...",
    help="Rows of the single forwards. The default is 32,64,256,576, up to the model's limit.",
)
@click.option(
    "--save",
    type=OUTPUT,
    metavar="FILE",
    help="Write the measurement to FILE for `run --variant`.",
)
@click.option(
    "--trace",
    type=OUTPUT,
    metavar="FILE",
    help="Write a trace for Chrome or Perfetto.",
)
@click.option(
    "--choose",
    is_flag=True,
    help=(
        "Only find the fastest runtime for each BUNDLE here, in about a minute, and keep it for"
        " `run`, `chat`, `verify` and `doctor`."
    ),
)
@plan_options
@generation_options
@provider_options  # --device is a plan's here
@common_options
def bench(
    console: Console,
    bundles: tuple[Path, ...],
    task_name: str,
    repeats: int,
    warm_up: int,
    baseline: str | None,
    rows: str | None,
    save: Path | None,
    trace: Path | None,
    choose: bool,
    planned: Planned | None,
    execution: Execution,
    **request: Any,
) -> None:
    """Time generations of each BUNDLE on the runtime that `run` would take.

    The bundles take turns. The table shows loading, the first step, every step by part, what the
    shortcuts saved, memory and energy. Single forwards of several sizes follow, with the fastest
    bundle of each size. --choose and --plan answer other questions and time nothing else.

    \b
    nextomni-edge bench BUNDLE --baseline
    nextomni-edge bench BUNDLE --kv-cache revised --baseline kv_cache=none
    nextomni-edge bench BUNDLE INT8 --trace steps.json
    nextomni-edge bench BUNDLE INT8 INT4 --save variants.json
    nextomni-edge bench BUNDLE --choose
    nextomni-edge bench --plan nextomni-7b --device orin-nano-8gb --precision int4
    """
    from nextomni_edge.measure.timing import forwards, measure

    plan = named_plan(task_name)
    if planned:
        print_plan(console, bundles, plan, planned)
        return
    if choose:
        choose_and_keep(console, bundles, execution)
        return
    check_files(trace, save, bundles, task_name)
    ways = {bundle: choose_runtime(console, bundle, execution) for bundle in bundles}
    each = [
        configured(console, bundle, ways[bundle], plan, request_of(plan.answer, request), baseline)
        for bundle in bundles
    ]
    models = [configurations[0].model for configurations in each]
    sizes = chosen_rows(rows, models)
    measurements = measure(
        [configuration for configurations in each for configuration in configurations],
        repeats,
        warm_up,
    )
    forward = forwards(models, sizes, FORWARDS * repeats)
    write_files(trace, save, task_name, ways, forward, measurements)
    compared = forward_results(bundles, forward)
    console.result(
        results(task_name, measurements) | compared,
        f"{table(measurements)}\n\n{forward_text(compared)}",
    )


def check_files(
    trace: Path | None, save: Path | None, bundles: tuple[Path, ...], task: str
) -> None:
    """UsageError, before anything takes long: a file could not be written, or the bundles are no
    variants of one model."""
    from nextomni_edge.api.output import check_place
    from nextomni_edge.measure.variants import measured
    from nextomni_edge.runtimes.base import Execution

    for path in (path for path in (trace, save) if path):
        check_place(path)
    if save:
        if len(set(bundles)) < len(bundles):
            raise UsageError(
                f"--save: a bundle is given twice among {', '.join(map(str, bundles))}; name each"
                " once"
            )
        measured(dict.fromkeys(bundles, (Execution(), {}, 0.0)), task, save)


def write_files(
    trace: Path | None,
    save: Path | None,
    task: str,
    ways: dict[Path, Execution],
    forward: list[dict[int, float]],
    measurements: list[Measurement],
) -> None:
    """The trace, and what `run --variant` chooses by: how each bundle was run, its forwards by rows
    and its median generation."""
    from nextomni_edge.files import atomic_write
    from nextomni_edge.measure.timing import chrome_trace
    from nextomni_edge.measure.variants import measured

    if trace:
        with atomic_write(trace, "w") as file:
            json.dump(chrome_trace(measurements), file)
    if save:
        # a baseline runs next to each bundle
        generations = measurements[:: len(measurements) // len(ways)]
        whole = [measurement.median("seconds") or 0.0 for measurement in generations]
        timed = zip(ways.values(), forward, whole, strict=True)
        measured(dict(zip(ways, timed, strict=True)), task, save).write(save)


def chosen_rows(text: str | None, models: list[EdgeModel]) -> tuple[int, ...]:
    """Sizes of forwards out of `32,64`. UsageError: no numbers, or more than a model takes."""
    from nextomni_edge.measure.timing import row_sizes

    if text is None:
        return row_sizes(models)
    limit = min(model.config.backbone.max_positions for model in models)
    words = text.split(",")
    if not all(word.isdecimal() and 1 <= int(word) <= limit for word in words):
        raise UsageError(
            f"--rows {text!r}: expected numbers from 1 to {limit}, which the model takes, with"
            " commas between them"
        )
    return tuple(sorted({int(word) for word in words}))


def named_plan(name: str) -> Plan:
    """The task of a name. UsageError: unknown."""
    from nextomni_edge.tasks import EDITING, PLANS, TEXT_ONLY

    plans = {plan.name: plan for plan in (*PLANS, TEXT_ONLY, EDITING)}
    if name not in plans:
        raise UsageError(f"--task {name!r}: expected one of {', '.join(plans)}")
    return plans[name]


def configured(
    console: Console,
    bundle: Path,
    execution: Execution,
    plan: Plan,
    request: Request,
    baseline: str | None,
) -> list[Configuration]:
    """The bundle with what was asked for, and with the baseline's settings in its place where there
    is one."""
    from nextomni_edge.measure.timing import Configuration

    began = time.perf_counter()
    model = open_model(console, bundle, execution)
    for name in plan.components(model.config):
        model.session(name)
    seconds = time.perf_counter() - began
    sequence = answered_sequence(model, plan, request)
    options = request.options(model.config)
    found = [Configuration(str(bundle), model, sequence, options, seconds)]
    if baseline is not None:
        found.append(
            dataclasses.replace(
                found[0], name=f"{bundle} [{baseline}]", options=changed(options, baseline)
            )
        )
    return found


def answered_sequence(model: EdgeModel, plan: Plan, request: Request) -> Any:
    """The plan's conversation, and an answer of the length asked for."""
    from nextomni_edge.modalities.table import MODALITIES
    from nextomni_edge.tokens.chat import respond

    sequence, count = plan.task(model).sequence, request.count(model.config)
    if count is None:
        return sequence
    first = sequence.generated()[0]
    record = MODALITIES[plan.answer]
    markers = bool(record.codec) + bool(record.frames_of)
    return respond(
        sequence.segments[: first - markers], plan.answer, model.config, model.tokenizer, count
    )


def changed(options: GenerationOptions, settings: str) -> GenerationOptions:
    """Options with settings such as `plain,steps=32` in place of their own. UsageError: unknown, or
    of another type."""
    fields = options.settings()
    given: dict[str, Any] = {}
    for setting in settings.split(","):
        name, equals, text = setting.partition("=")
        if setting == "plain":
            options = options.plain()
        elif name not in fields or name == "grid" or not equals:
            near = difflib.get_close_matches(name, ["plain", *fields], 1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "expected plain, or NAME=VALUE with the name of an option"
            )
            raise UsageError(f"--baseline: {setting!r} is no setting; {hint}")
        else:
            given[name] = value_like(fields[name], name, text)
    if given.get("steps", options.steps) != options.steps:
        given["grid"] = ()
    return options.changed(**given)


def value_like(now: object, name: str, text: str) -> bool | int | float | str | None:
    """A value of the type that an option has. UsageError: none."""
    if isinstance(now, str):
        return text
    if isinstance(now, bool):
        if text not in SWITCHES:
            raise UsageError(f"--baseline: {name} is {text!r}, expected on or off")
        return SWITCHES[text]
    try:
        return float(text) if isinstance(now, float) else int(text)
    except ValueError as error:
        raise UsageError(f"--baseline: {name} is {text!r}, expected a number") from error
