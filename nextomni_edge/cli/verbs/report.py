"""`report`: what variants of a bundle cost and gain, measured, as a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.cli.model import threads_option
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.extras import needs_extra
from nextomni_edge.files import check_output

if TYPE_CHECKING:
    from nextomni_edge.calibration.data.collect import Source
    from nextomni_edge.calibration.report.report import Variant

MAX_QUALITY = 2**20


@click.command()
@click.argument("bundles", type=BUNDLE, nargs=-1, required=True, metavar="PARENT VARIANT...")
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    required=True,
    help="A new folder for the page, plots and numbers.",
)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Held-out prompts. Without them, the nine tasks of `verify`.",
)
@click.option(
    "--quality",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="The JSON of an evaluation. Give one for each bundle, in order.",
)
@click.option(
    "--bins", type=numbers.BINS, default=8, show_default=True, help="Bins of the flow time t."
)
@click.option(
    "--seed", type=numbers.SEED, default=1, show_default=True, help="Seed of every generation."
)
@click.option(
    "--record/--no-record",
    default=True,
    show_default=True,
    help="Write what was measured into the variants' manifests.",
)
@click.option(
    "--rounds",
    type=numbers.Whole(1, 1000),
    default=15,
    show_default=True,
    help="Timed forwards of each bundle.",
)
@threads_option
@common_options
def report(
    console: Console,
    bundles: tuple[Path, ...],
    output: Path,
    prompts: Path | None,
    quality: tuple[Path, ...],
    bins: int,
    seed: int,
    record: bool,
    rounds: int,
) -> None:
    """Compare every VARIANT with its PARENT: size, p(x1 | xt) at every t, whole generations from
    the same seeds, and speed.

    An interrupted report continues when you call it again.

    \b
    nextomni-edge report demo/bundle demo/int8 demo/int4 \\
        --prompts examples/emoji/heldout/prompts.jsonl -o demo/report
    """
    check_output(output)
    with needs_extra("quantize", "onnx_ir", "onnxruntime"):
        from nextomni_edge.calibration.data.collect import Planned, Prompted
        from nextomni_edge.calibration.report.kept import remove_kept
        from nextomni_edge.calibration.report.page import text, write_report
        from nextomni_edge.calibration.report.report import load_variants, measured
        from nextomni_edge.calibration.report.report import report as measure
    from nextomni_edge.bundle import write_measured
    from nextomni_edge.files import resumable_directory

    measures = read_qualities(quality, len(bundles))
    variants = load_variants(bundles)
    recorded = variants[1:] if record else []
    check_writable([variant.bundle.path for variant in recorded])

    def source(variant: Variant) -> Source:
        components = variant.bundle.manifest.components
        return Prompted(variant.model, prompts) if prompts else Planned(variant.model, components)

    with resumable_directory(output) as folder, console.progress("report") as advance:
        data = measure(variants, source, folder, bins, seed, rounds, advance)
        for bundle, found in zip(data["bundles"], measures, strict=False):
            bundle["quality"] = found
        write_report(folder, data)
        remove_kept(folder)
    for index, variant in enumerate(recorded, 1):
        write_measured(variant.bundle, measured(data, index))
    console.result(
        {"report": str(output / "index.html")} | data, f"{text(data)}\n{output / 'index.html'}"
    )


def check_writable(bundles: list[Path]) -> None:
    """UsageError: a bundle whose manifest cannot be replaced."""
    for path in bundles:
        if not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(
                f"{path}: cannot be written; --no-record leaves the variants' manifests as they are"
            )


def read_qualities(paths: tuple[Path, ...], bundles: int) -> list[dict[str, Any]]:
    """Measures of evaluations, of the parent first. UsageError: not one for each bundle.
    InputError: not all have the same."""
    if paths and len(paths) != bundles:
        raise UsageError(
            f"{len(paths)} --quality files for {bundles} bundles: give one for each, in order"
        )
    found = [read_quality(path) for path in paths]
    for path, measures in zip(paths, found, strict=True):
        for name in sorted(measures.keys() ^ found[0].keys()):
            raise InputError(
                f"{path}: measure {name!r} is not in both this and {paths[0]}; evaluate all bundles"
                " alike"
            )
    return found


def read_quality(path: Path) -> dict[str, Any]:
    """Measures of an evaluation, {name: {"value", "ci95", "n"}}, the whole file or under
    "measures". InputError: something else."""
    from nextomni_edge.formats.strict_json import read_json

    data = read_json(path, MAX_QUALITY)
    measures = data.get("measures", data) if isinstance(data, dict) else None
    if not isinstance(measures, dict) or not measures:
        raise InputError(f"{path}: expected an object of named measures")
    for name, found in measures.items():
        interval = found.get("ci95") if isinstance(found, dict) else None
        numbers = (
            [found.get("value"), found.get("n"), *interval]
            if isinstance(interval, list) and len(interval) == 2
            else []
        )
        if not numbers or not all(isinstance(number, int | float) for number in numbers):
            raise InputError(f"{path}: measure {name!r}: expected value, n and ci95 (two numbers)")
    return {
        name: {key: found[key] for key in ("value", "n", "ci95")}
        for name, found in measures.items()
    }
