"""`verify`: whether a bundle computes what its model computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.model import choose_runtime, runtime_options
from nextomni_edge.errors import NextOmniError
from nextomni_edge.extras import needs_extra

if TYPE_CHECKING:
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.verify import Report, VerificationError
    from nextomni_edge.verify.replay import Progress


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Compare with this model directory in PyTorch instead of the bundle's golden trace.",
)
@click.option(
    "--bisect",
    is_flag=True,
    help="For each component that differs, name the first value that does. Needs --against.",
)
@click.option(
    "--allow-unchecked",
    is_flag=True,
    help="Succeed even where a generation that the bundle can do was not compared.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="PUBLIC_KEY",
    help="First check that the private key of this one has signed BUNDLE.",
)
@runtime_options
@common_options
def verify(
    console: Console,
    bundle: Path,
    against: Path | None,
    bisect: bool,
    allow_unchecked: bool,
    key: Path | None,
    execution: Execution,
) -> None:
    """Check that BUNDLE computes what its model computes, on the runtime that `run` would take.

    Without --against, verify replays the golden trace that the bundle carries. With it, verify runs
    the model in PyTorch and compares every component and whole generations of every kind, token for
    token at every step.

    The exit code is 4 where anything differs or was not checked. Near ties, where two outcomes were
    equally good, are counted and listed; they are no failure.
    """
    from nextomni_edge.verify import VerificationError
    from nextomni_edge.verify import verify as verify_bundle

    if bisect and against is None:
        raise click.UsageError(
            "--bisect compares with PyTorch: give the model directory with --against"
        )
    if against is not None:
        with needs_extra("train", "torch"):
            pass
    if key is not None:
        from nextomni_edge.bundle.trust import check_signature

        check_signature(bundle, key)
    execution = choose_runtime(console, bundle, execution)
    failure: VerificationError | None = None
    with console.progress("verify") as advance:

        def progress(task: str, share: float) -> None:
            advance(round(100 * share), 100, task)

        try:
            report = verify_bundle(bundle, against, execution, progress, allow_unchecked)
        except VerificationError as error:
            report, failure = error.report, error
        if bisect and against is not None:
            find_divergences(report, bundle, against, progress)
    conclude(console, bundle, report, failure)


def conclude(
    console: Console, bundle: Path, report: Report, failure: VerificationError | None
) -> None:
    """Print the report; where something failed, say so in a line and end with its exit code."""
    console.result(
        report.to_json() | {"ok": failure is None, "near_ties": report.near_ties},
        "\n".join(report_lines(report)),
    )
    if failure is None:
        return
    reason = (
        f"{bundle} is not the same as {report.against}: {len(report.failures)} failures"
        if report.failures
        else f"{bundle}: {failure}"
    )
    console.note(f"error: {reason}", level=-1)
    click.get_current_context().exit(failure.exit_code)


def find_divergences(report: Report, bundle: Path, against: Path, progress: Progress) -> None:
    """Fill in where each component that differs leaves PyTorch, or why that was not found: the
    report's failures stand in any case."""
    from nextomni_edge.bundle import Bundle

    with needs_extra("export", "torch", "onnx", "onnxscript", "onnxruntime"):
        from nextomni_edge.export.bisect import first_divergence
    opened, failing = Bundle.open(bundle, verify_hashes=False), report.failing_components()
    for index, name in enumerate(failing):
        progress(f"bisect {name}", index / len(failing))
        try:
            found = first_divergence(opened, against, name)
        except NextOmniError as error:
            report.divergences[name] = f"not found: {error}"
            continue
        report.divergences[name] = (found or "").removeprefix(f"{name}: ") or (
            "not found: on the default runtime its outputs are PyTorch's"
        )
        report.first_divergence = report.first_divergence or found


def report_lines(report: Report) -> Iterator[str]:
    """The report as a table, every near tie and failure, and the verdict."""
    yield from component_lines(report)
    yield from task_lines(report)
    for results in (report.components, report.tasks):
        for name, result in results.items():
            yield from (
                f"near tie: {name}: {tie.where}, margin {tie.margin:.1e}"
                for tie in result.near_ties
            )
    yield from (f"note: {note}" for note in report.notes)
    yield from (f"FAIL: {failure}" for failure in report.failures)
    yield from (f"first divergence of {name}: {at}" for name, at in report.divergences.items())
    verdict = "differs from" if report.failures else "the same as"
    left = f", {len(report.unchecked)} generations NOT CHECKED" if report.unchecked else ""
    yield f"{verdict} {report.against} on {report.place}, {report.near_ties} near ties{left}"


def component_lines(report: Report) -> Iterator[str]:
    """A line for each component."""
    for name, part in report.components.items():
        codes = f", {part.codes} codes" if part.codes else ""
        yield (
            f"{name:<16} {part.cases} cases, largest error {part.error:.1e} of at most"
            f" {part.limit:.0e}{codes}"
        )


def task_lines(report: Report) -> Iterator[str]:
    """A line for each generation, and for each that was not run."""
    for name, task in report.tasks.items():
        margin = (
            "" if task.smallest_margin is None else f", smallest margin {task.smallest_margin:.1e}"
        )
        of = f" of {task.all_draws}" if task.draws < task.all_draws else ""
        yield f"{name:<16} {task.steps} steps, {task.draws}{of} draws{margin}"
    for name, reason in report.skipped.items():
        state = "NOT CHECKED" if name in report.unchecked else "not there"
        yield f"{name:<16} {state}: {reason}"
