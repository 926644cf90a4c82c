"""`export`: a model directory leaves PyTorch as a verified bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from nextomni_edge.bundle.parity import parity_lines
from nextomni_edge.cli import numbers
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.cli.model import threads_option
from nextomni_edge.cli.verbs.compile import as_json as engines_as_json
from nextomni_edge.cli.verbs.compile import as_text as engines_as_text
from nextomni_edge.cli.verbs.compile import compiled
from nextomni_edge.errors import UsageError
from nextomni_edge.extras import needs_extra
from nextomni_edge.files import check_output

if TYPE_CHECKING:
    from nextomni_edge.export import ExportReport
    from nextomni_edge.runtimes.tensorrt.build import Asked
    from nextomni_edge.spec import Precision


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=OUTPUT, required=True, help="The bundle to write.")
@click.option(
    "--target",
    type=click.Choice(["onnx", "coreml", "gguf", "tensorrt"]),
    default="onnx",
    show_default=True,
    help=(
        "Format of the graphs. gguf: the backbone only, next to ONNX graphs. tensorrt: ONNX graphs,"
        " and engines next to the bundle for --capability."
    ),
)
@click.option(
    "--capability",
    metavar="smNN",
    help="tensorrt: the kind of GPU to build engines for; they compute in --precision.",
)
@click.option("--components", metavar="NAME,...", help="Export only these components.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "q8_0", "q6_k", "q4_k_m", "q4_0"]),
    help=(
        "How weights are stored; float16 by default for coreml, else float32. The last four are for"
        " the backbone with --target gguf."
    ),
)
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="coreml: compress the layers that this quantised bundle quantises.",
)
@click.option(
    "--chunk-mb",
    type=numbers.COUNT,
    metavar="MIB",
    help="coreml: split the backbone into packages of at most this size.",
)
@click.option(
    "--rows",
    metavar="N,...",
    help="coreml: accept only these numbers of rows, one sequence at a time; others are padded.",
)
@click.option(
    "--state",
    is_flag=True,
    help="coreml: the backbone keeps keys and values itself, in float16, for --kv-cache.",
)
@click.option(
    "--author", default="", metavar="NAME", help="coreml: the model's author, for each package."
)
@click.option(
    "--licence",
    "--license",
    default="",
    metavar="NAME",
    help="coreml: the model's licence, for each package.",
)
@click.option(
    "--palettes",
    is_flag=True,
    help="With --like: a palette of 2^bits values, found by k-means, instead of integers.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an existing bundle. It stays whole until the new one is complete.",
)
@click.option(
    "--verify",
    "check",
    type=click.Choice(["full", "golden", "none"]),
    default="full",
    show_default=True,
    help=(
        "full: compare with PyTorch. golden: only record the golden trace. none: neither. The"
        " manifest says which."
    ),
)
@threads_option
@common_options
def export(
    console: Console,
    model: Path,
    output: Path,
    target: Literal["onnx", "coreml", "gguf", "tensorrt"],
    capability: str | None,
    components: str | None,
    precision: Precision | None,
    like: Path | None,
    palettes: bool,
    chunk_mb: int | None,
    rows: str | None,
    state: bool,
    author: str,
    licence: str,
    dry_run: bool,
    overwrite: bool,
    check: Literal["full", "golden", "none"],
) -> None:
    """Export the model directory MODEL to a bundle with one graph for each component.

    Before the bundle gets its name, it is compared with PyTorch: every component, and whole
    generations of every kind. The result shows the parity that was measured.
    """
    if not dry_run:
        check_output(output, overwrite)
    with needs_extra("export", "torch", "onnx", "onnxscript", "onnxruntime"):
        from nextomni_edge.bundle import Bundle
        from nextomni_edge.export import CoreMlOptions, export_bundle
    precision = precision or ("float16" if target == "coreml" else "float32")
    packages = CoreMlOptions(like, palettes, chunk_mb, _counts(rows), state, author, licence)
    _check_target(target, packages != CoreMlOptions(), capability)
    engines = asked(output, capability, precision) if capability else None
    _require(target)
    chosen = [name.strip() for name in components.split(",")] if components else None
    with console.progress("export") as advance:

        def progress(task: str, share: float) -> None:
            advance(round(100 * share), 100, task)

        graphs: Literal["onnx", "coreml", "gguf"] = "onnx" if target == "tensorrt" else target
        report = export_bundle(
            model, output, chosen, precision, overwrite, dry_run, progress, check, graphs, packages
        )
    data, text = as_json(report, dry_run), as_text(report, dry_run)
    if engines and not dry_run:
        built = compiled(console, Bundle.open(output), engines, None)
        data, text = (
            data | {"engines": engines_as_json(built, engines)},
            f"{text}\n{engines_as_text(built, engines)}",
        )
    console.result(data, text)


def _check_target(target: str, packages: bool, capability: str | None) -> None:
    """UsageError: options of Core ML's `packages`, or a GPU's `capability`, for another target."""
    if target != "coreml" and packages:
        given = "--like, --palettes, --chunk-mb, --rows, --state, --author and --licence"
        raise UsageError(
            f"{given} are of Core ML packages; give --target coreml with them, not {target}"
        )
    if (target == "tensorrt") != (capability is not None):
        raise UsageError(
            "--target tensorrt and --capability smNN go together: an engine is of one kind of GPU"
        )


def _require(target: str) -> None:
    """MissingRuntimeError: the library that writes a format is not here."""
    if target == "coreml":
        with needs_extra("coreml", "coremltools"):
            import nextomni_edge.export.coreml
    if target == "gguf":
        with needs_extra("gguf", "gguf", "llama_cpp"):
            import nextomni_edge.export.gguf  # noqa: F401


def _counts(rows: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(count) for count in rows.split(",")) if rows else ()
    except ValueError as error:
        raise UsageError(
            f"--rows {rows!r}: expected whole numbers with commas between, such as 32,64,256"
        ) from error


def asked(output: Path, capability: str, precision: Precision) -> Asked:
    """The engines to build, refused before the work where they cannot be."""
    if precision not in ("float32", "float16"):
        raise UsageError(
            f"only target gguf has precision {precision}; tensorrt takes float32 or float16"
        )
    from nextomni_edge.runtimes.tensorrt.build import Asked, check_capability
    from nextomni_edge.runtimes.tensorrt.engine import engines_beside
    from nextomni_edge.runtimes.tensorrt.profile import Limits
    from nextomni_edge.runtimes.tensorrt.runtime import here

    wanted = Asked(capability, precision, Limits(), engines_beside(output))
    check_capability(wanted, here())
    return wanted


def as_json(report: ExportReport, dry_run: bool) -> dict[str, Any]:
    """The report as JSON data."""
    return {
        "bundle": str(report.out),
        "dry_run": dry_run,
        "precision": report.precision,
        "parameters": report.parameters,
        "weight_bytes": report.weight_bytes,
        "total_weight_bytes": report.total_weight_bytes,
        "parity": report.parity,
    }


def as_text(report: ExportReport, dry_run: bool) -> str:
    """The report as a table."""
    lines = [
        f"{name:<14} {count:>14,} parameters {report.weight_bytes[name]:>16,} bytes"
        for name, count in report.parameters.items()
    ]
    ending = "would be written to" if dry_run else "written to"
    parity = [] if dry_run else parity_lines(report.parity)
    total = f"{report.total_weight_bytes:,} bytes of weights {ending} {report.out}"
    return "\n".join([*lines, *parity, total])
