"""`calibrate`: sequences out of a bundle's own trajectories, for the quantiser to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.cli.model import threads_option
from nextomni_edge.errors import UsageError
from nextomni_edge.extras import needs_extra
from nextomni_edge.files import check_output

if TYPE_CHECKING:
    from nextomni_edge.calibration.data.samples import CalibrationSet


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    required=True,
    help="A new folder. An interrupted run continues.",
)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prompts as JSON lines, or a folder with prompts.jsonl.",
)
@click.option(
    "--random",
    type=numbers.COUNT,
    metavar="N",
    help="N trajectories of random numbers for each task instead. The set stays marked as random.",
)
@click.option(
    "--bins",
    type=numbers.BINS,
    default=8,
    show_default=True,
    help="Bins of the flow time t. Every trajectory gives one moment to each.",
)
@click.option(
    "--seed", type=numbers.SEED, default=0, show_default=True, help="Same seed, same set."
)
@click.option(
    "--batch",
    type=numbers.Whole(1, 64, "trajectories"),
    default=8,
    show_default=True,
    help="Trajectories at a time. Memory grows with this number.",
)
@threads_option
@common_options
def calibrate(
    console: Console,
    bundle: Path,
    output: Path,
    prompts: Path | None,
    random: int | None,
    bins: int,
    seed: int,
    batch: int,
) -> None:
    """Collect what the networks of BUNDLE read, from noise to data, for `quantize`.

    BUNDLE generates from prompts of its training data. Moments of each trajectory are kept.

    \b
    A line of --prompts:
      {"task": "what is it", "answer": "text", "turns": [{"role": "user", "parts":
      [{"kind": "image", "value": "a.png"}, {"kind": "text", "value": "what?"}]}]}
    """
    check_output(output)
    with needs_extra("quantize", "onnx_ir", "onnxruntime"):
        from nextomni_edge.calibration.data.collect import Prompted, Random, collect
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.generate.model import EdgeModel

    if (prompts is None) == (random is None):
        raise UsageError("give either --prompts FILE, or --random N for a set of random numbers")
    opened = Bundle.open(bundle)
    model = EdgeModel.from_bundle(opened)
    source = (
        Prompted(model, prompts)
        if prompts
        else Random(model, opened.manifest.components, random or 1)
    )
    with console.progress("calibrate") as advance:
        found = collect(opened, source, output, bins, seed, batch, advance)
    if found.record.random:
        console.warn(
            f"{output} holds random numbers: what is quantised with it says so, and is worse than"
            " it need be"
        )
    console.result(as_json(found), as_text(found))


def as_json(found: CalibrationSet) -> dict[str, Any]:
    """The set as JSON data."""
    record = found.record
    made = {name: getattr(record, name) for name in ("model", "random", "seed", "bins", "counts")}
    return {
        "calibration": str(found.path),
        "sha256": found.sha256,
        "trajectories": len(found),
    } | made


def as_text(found: CalibrationSet) -> str:
    """The set as a table: samples in each bin."""
    lines = [
        f"{task:<20} {branch:<14} {counts[0]:>5} samples in each of {len(counts)} bins"
        for task, branches in found.record.counts.items()
        for branch, counts in branches.items()
    ]
    return "\n".join([*lines, f"{len(found)} trajectories in {found.path}"])
