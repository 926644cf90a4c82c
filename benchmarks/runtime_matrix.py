"""Every runtime that is installed here against PyTorch: each component, and whole generations of
every task, token for token.

    python benchmarks/runtime_matrix.py -o benchmarks/runtime_matrix.json
    python benchmarks/runtime_matrix.py --model MODEL BUNDLE...

Without bundles the demo model is exported in each format and precision. Ends with 4 where a row in
float32 differs. A row that approximates (bfloat16, float16) is reported as it is; one whose library
is missing says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import MissingRuntimeError
from nextomni_edge.export import export_bundle
from nextomni_edge.runtimes.base import Compute, Execution
from nextomni_edge.verify import Report, against_checkpoint

DEMO = Path(__file__).parents[1] / "examples" / "emoji" / "checkpoint"
RUNS: dict[str, list[tuple[str, Compute]]] = {
    "onnx": [("onnx", "float32"), ("openvino", "float32"), ("openvino", "bfloat16")],
    "gguf": [("llamacpp", "float32")],  # the backbone; the graphs beside it on ONNX Runtime
    "coreml": [("coreml", "float32")],  # a program computes in what it was exported in
}
EXPORTS = (
    ("onnx", "float32"),
    ("onnx", "float16"),
    ("coreml", "float32"),
    ("coreml", "float16"),
    ("gguf", "float32"),
    ("gguf", "q8_0"),
)
LIBRARIES = {
    "llamacpp": "llama-cpp-python",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "coreml": "numpy",
}


@dataclass
class Row:
    """One bundle on one runtime. `errors` by component, the largest of its cases; `tasks`: (draws,
    near ties, failed)."""

    bundle: str
    stored: str
    runtime: str
    arithmetic: str
    version: str | None = None
    seconds: float | None = None
    errors: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, tuple[int, int, bool]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    not_run: str | None = None

    @property
    def exact(self) -> bool:
        """Whether the row promises the reference's tokens."""
        return self.arithmetic == "float32"


def bundles(model: Path, folder: Path) -> Iterator[Path]:
    """The model in every format and precision; what is there from an earlier run is used again."""
    for target, precision in EXPORTS:
        out = folder / f"{target}-{precision}"
        if not out.is_dir():
            print(f"exporting {out}", file=sys.stderr)
            try:
                export_bundle(model, out, precision=precision, target=target, verify="none")  # type: ignore[arg-type]
            except ImportError as error:
                print(f"not exported: {out} ({error})", file=sys.stderr)
                continue
        yield out


def measure(bundle: Bundle, model: Path, runtime: str, compute: Compute) -> Row:
    """One row, or why there is none."""
    stored = sorted({record.precision for record in bundle.manifest.components.values()})
    computed = {record.arithmetic for record in bundle.manifest.components.values()} | {compute}
    row = Row(
        bundle.path.name, ", ".join(stored), runtime, min(computed - {"float32"}, default="float32")
    )
    started = time.monotonic()
    try:
        report = against_checkpoint(bundle, model, Execution(runtime, compute=compute))[0]
    except MissingRuntimeError as error:
        row.not_run = str(error)
        return row
    row.version, row.seconds = (
        metadata.version(LIBRARIES[runtime]),
        round(time.monotonic() - started, 2),
    )
    fill(row, report)
    return row


def fill(row: Row, report: Report) -> None:
    """Copy what the report says of components and tasks."""
    row.errors = {name: result.error for name, result in report.components.items()}
    row.failures = report.failures
    for name, result in report.tasks.items():
        row.tasks[name] = (
            result.draws,
            len(result.near_ties),
            any(line.startswith(f"{name}:") for line in report.failures),
        )


def table(rows: list[Row]) -> str:
    """Markdown: a row per runtime, a column per task (the same tokens at every step, or where they
    parted)."""
    tasks = list(dict.fromkeys(name for row in rows for name in row.tasks))
    lines = [
        "| bundle | runtime | arithmetic | largest error | " + " | ".join(tasks) + " |",
        "|---" * (4 + len(tasks)) + "|",
    ]
    for row in rows:
        if row.not_run:
            lines.append(
                f"| {row.bundle} | {row.runtime} | {row.arithmetic} | not run: {row.not_run} |"
                + " |" * len(tasks)
            )
            continue
        worst = max(row.errors, key=lambda name: row.errors[name])
        cells = [cell(*row.tasks[name]) if name in row.tasks else "" for name in tasks]
        lines.append(
            f"| {row.bundle} | {row.runtime} {row.version} | {row.arithmetic} |"
            f" {row.errors[worst]:.1e} ({worst}) | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def cell(draws: int, ties: int, failed: bool) -> str:
    if failed:
        return f"differs within {draws} draws"
    return f"{draws} draws, then {ties} near ties" if ties else f"same {draws}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/runtime_matrix"),
        help="where the demo's bundles are kept",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for path in given.bundles or bundles(given.model, given.folder):
        bundle = Bundle.open(path)
        formats = sorted({record.format for record in bundle.manifest.components.values()})
        chosen = ["gguf"] if "gguf" in formats else formats
        for runtime, compute in (run for name in chosen for run in RUNS[name]):
            rows.append(measure(bundle, given.model, runtime, compute))
            print(
                f"{path.name} on {runtime} in {compute}: {len(rows[-1].failures)} failures",
                file=sys.stderr,
            )
    print(table(rows))
    data = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": [asdict(row) for row in rows],
    }
    given.output.write_text(json.dumps(data, indent=1) + "\n")
    if any(row.exact and row.failures for row in rows):
        sys.exit(4)


if __name__ == "__main__":
    main()
