"""`verify`: whether a bundle computes what its model computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.model import runtime_options
from nextomni_edge.extras import needs_extra

if TYPE_CHECKING:
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.verify import Report


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="The model directory it was made from; needs PyTorch.",
)
@click.option(
    "--bisect",
    is_flag=True,
    help="Name the first value that differs in the first component that does; needs --against.",
)
@runtime_options
@common_options
def verify(
    console: Console, bundle: Path, against: Path | None, bisect: bool, execution: Execution
) -> None:
    """Replay BUNDLE's golden trace here, or compare it with the model it was made from: every
    component, and whole generations of every kind, token for token at every step.

    Ends with 4 where anything differs. Near ties, where both outcomes were as good, are counted and
    listed.
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
    with console.progress("verify") as advance:

        def progress(task: str, share: float) -> None:
            advance(round(100 * share), 100, task)

        try:
            report = verify_bundle(bundle, against, execution, progress)
        except VerificationError as error:
            report = error.report
    if bisect and against is not None:
        report.first_divergence = first_divergence(report, bundle, against)
    ok = not report.failures
    console.result(
        report.to_json() | {"ok": ok, "near_ties": report.near_ties},
        "\n".join(report_lines(report)),
    )
    if not ok:
        console.note(
            f"error: {bundle} is not the same as {report.against}: {len(report.failures)} failures",
            level=-1,
        )
        click.get_current_context().exit(VerificationError.exit_code)


def first_divergence(report: Report, bundle: Path, against: Path) -> str | None:
    """Where the first component that differs leaves PyTorch."""
    with needs_extra("export", "torch", "onnx", "onnxscript", "onnxruntime"):
        from nextomni_edge.export import bisect
    from nextomni_edge.bundle import Bundle

    wrong = [
        name
        for name in report.components
        if any(failure.startswith(f"{name}:") for failure in report.failures)
    ]
    return bisect.first_divergence(Bundle.open(bundle), against, wrong[0]) if wrong else None


def report_lines(report: Report) -> Iterator[str]:
    """The report as a table, every near tie and failure, and the verdict."""
    for name, part in report.components.items():
        codes = f", {part.codes} codes" if part.codes else ""
        yield (
            f"{name:<16} {part.cases} cases, largest error {part.error:.1e} of at most"
            f" {part.limit:.0e}{codes}"
        )
    for name, task in report.tasks.items():
        margin = (
            "" if task.smallest_margin is None else f", smallest margin {task.smallest_margin:.1e}"
        )
        yield f"{name:<16} {task.steps} steps, {task.draws} draws{margin}"
    yield from (f"{name:<16} not checked: {reason}" for name, reason in report.skipped.items())
    for results in (report.components, report.tasks):
        for name, result in results.items():
            yield from (
                f"near tie: {name}: {tie.where}, margin {tie.margin:.1e}"
                for tie in result.near_ties
            )
    yield from (f"FAIL: {failure}" for failure in report.failures)
    if report.first_divergence:
        yield f"first divergence: {report.first_divergence}"
    verdict = "differs from" if report.failures else "the same as"
    yield f"{verdict} {report.against} in {report.runtime}, {report.near_ties} near ties"
