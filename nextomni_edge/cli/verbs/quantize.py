"""`quantize`: a bundle becomes a smaller one whose cost is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.cli.model import threads_option
from nextomni_edge.extras import needs_extra
from nextomni_edge.files import check_output

if TYPE_CHECKING:
    from nextomni_edge.calibration.quantize import QuantReport
    from nextomni_edge.calibration.recipes.config import QuantConfig

MEGABYTE = 10**6


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The bundle to write.")
@click.option(
    "--recipe",
    metavar="NAME",
    help=(
        "int8-dynamic, int8-static, int4-rtn, int4-gptq, int4-gptq-frontier, int4-awq, fp8 or"
        " mixed."
    ),
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your own recipe in JSON.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder that `calibrate` wrote from BUNDLE.",
)
@click.option(
    "--budget-mb",
    type=numbers.MEGABYTES,
    help="Recipe mixed: the size of all files, in megabytes (10^6 bytes).",
)
@click.option(
    "--measure-on",
    type=numbers.COUNT,
    metavar="N",
    help="Recipe mixed: trajectories on which each layer is measured.  [default: 20]",
)
@click.option(
    "--max-kl",
    type=numbers.SETTING,
    help=(
        "The gate: the largest divergence from the parent that is accepted, in nats per draw."
        " Recipe mixed uses all of it."
    ),
)
@click.option(
    "--max-flips",
    type=numbers.SHARE,
    help=(
        "The gate: the largest share of draws whose likeliest symbol may be another than the"
        " parent's. Recipe mixed uses all of it."
    ),
)
@click.option("--keep", is_flag=True, help="Write the bundle even where the gate is not met.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an existing bundle. It stays whole until the new one is complete.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Continue a run that was killed.",
)
@threads_option
@common_options
def quantize(
    console: Console,
    bundle: Path,
    output: Path,
    recipe: str | None,
    config: Path | None,
    calibration: Path | None,
    budget_mb: float | None,
    measure_on: int | None,
    max_kl: float | None,
    max_flips: float | None,
    keep: bool,
    overwrite: bool,
    resume: bool,
) -> None:
    """Write a smaller bundle: BUNDLE with its weights as integers.

    The divergence from BUNDLE is measured on its golden trace. PyTorch is not needed.
    """
    check_output(output, overwrite)
    with needs_extra("quantize", "onnx_ir", "onnxruntime"):
        from nextomni_edge.calibration import quantize as run_quantize

    how = chosen(recipe, config, budget_mb, measure_on, {"max_kl": max_kl, "max_flips": max_flips})
    with console.progress("quantize") as advance:

        def progress(task: str, share: float) -> None:
            advance(round(100 * share), 100, task)

        report = run_quantize(
            bundle, output, how, calibration, max_kl, keep, overwrite, resume, progress, max_flips
        )
    if report.random_calibration:
        console.warn(
            f"{output} is calibrated on random numbers, and marked so for ever: it is for"
            " comparisons"
        )
    console.result(as_json(report), as_text(report))


def chosen(
    recipe: str | None,
    config: Path | None,
    budget_mb: float | None,
    measure_on: int | None,
    gate: dict[str, float | None],
) -> QuantConfig:
    """What the options ask for."""
    from nextomni_edge.calibration.recipes.config import read_config
    from nextomni_edge.calibration.recipes.config import recipe as named

    if (recipe is None) == (config is None):
        raise click.UsageError("give --recipe NAME or --config FILE, and not both")
    for option, value in (("--budget-mb", budget_mb), ("--measure-on", measure_on)):
        if recipe != "mixed" and value is not None:
            raise click.UsageError(f"{option} only goes with --recipe mixed")
    if config is not None:
        return read_config(config)
    if recipe != "mixed":
        return named(str(recipe))
    settings = {} if measure_on is None else {"trajectories": measure_on}
    if budget_mb is not None:
        return named("mixed", budget_bytes=round(budget_mb * MEGABYTE), **settings)
    return named("mixed", **gate, **settings)


def as_json(report: QuantReport) -> dict[str, Any]:
    """The report as JSON data."""
    return {
        "bundle": str(report.out),
        "parent_bytes": report.parent_bytes,
        "bytes": report.bytes,
        "divergence": report.divergence,
        "flips": report.flips,
        "random_calibration": report.random_calibration,
        "components": {
            name: {"parent_bytes": before, "bytes": after}
            for name, (before, after) in report.components.items()
        },
        "layers": {name: vars(decision) for name, decision in report.decisions.items()},
    }


def as_text(report: QuantReport) -> str:
    """The report as a table."""
    lines = [
        f"{name:<14} {before:>14,} -> {after:>13,} bytes, {before / after:5.2f} times smaller"
        for name, (before, after) in report.components.items()
    ]
    worst = max(report.decisions.items(), key=lambda item: item[1].weight_error, default=None)
    lines += [f"largest weight error: {worst[1].weight_error:.3f} of {worst[0]}"] if worst else []
    if report.cost is not None:
        lines.append(
            f"divergence from the parent: {report.cost.kl:.3g} nats per draw,"
            f" {report.cost.flips:.2%} of the likeliest symbols flip"
        )
    ratio = report.parent_bytes / report.bytes
    return "\n".join(
        [
            *lines,
            (
                f"{report.parent_bytes:,} -> {report.bytes:,} bytes in all ({ratio:.2f} times):"
                f" {report.out}"
            ),
        ]
    )
