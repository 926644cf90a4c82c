"""`bench --choose`: measure which runtime is the fastest for a bundle on this machine, and keep the
answer for `run`, `chat`, `verify` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextomni_edge.cli.console import Console
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.measure.fastest import Compared
    from nextomni_edge.runtimes.base import Execution


def choose_and_keep(console: Console, bundles: tuple[Path, ...], execution: Execution) -> None:
    """Compare the runtimes for each bundle, keep what was found, and print it.

    UsageError: a model directory, or an option that names how to run.
    """
    from nextomni_edge.api.opening import is_bundle
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.measure.fastest import compare_runtimes
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.runtimes.choice import keep

    if execution != Execution():
        raise UsageError(
            "--choose compares the runtimes as they run by default; leave --runtime, --provider,"
            " --compute, --cache and --allow-fallback out"
        )
    results, texts = [], []
    for path in bundles:
        if not is_bundle(path):
            raise UsageError(f"{path} is a model directory; it runs on PyTorch only")
        with console.progress(f"choose a runtime for {path}") as advance:
            found = compare_runtimes(
                Bundle.open(path),
                progress=lambda item, share: advance(round(100 * share), 100, item),
            )
        times = found.times_as_fast(found.fastest)
        answers = {name: found.answers(name) for name in found.timed}
        file = keep(path, found.fastest, times, answers)
        results.append(as_json(path, found, file))
        texts.append(as_text(path, found, file))
    console.result({"choices": results}, "\n\n".join(texts))


def as_json(path: Path, found: Compared, file: Path) -> dict[str, Any]:
    """What was measured and kept, as JSON data."""
    return {
        "bundle": str(path),
        "runtime": found.fastest,
        "default": found.default,
        "times_as_fast": {name: found.times_as_fast(name) for name in found.timed},
        "seconds": {
            name: {
                task: vars(own) | {"generation": own.generation, "answer": own.answer}
                for task, own in tasks.items()
            }
            for name, tasks in found.timed.items()
        },
        "left_out": found.left_out,
        "kept": str(file),
    }


def as_text(path: Path, found: Compared, file: Path) -> str:
    """A row for each runtime and task, and what `run` takes from now on."""
    lines = [f"{path}: an answer of `run` is loading and one generation"]
    for runtime, tasks in found.timed.items():
        lines += [
            f"{runtime:<10} {task:<14} {own.answer:8.2f} s, the generation {own.generation:.2f} s"
            for task, own in tasks.items()
        ]
        if runtime != found.default:
            times = found.times_as_fast(runtime)
            lines.append(f"{runtime:<10} answers {times:.2f} times as fast as {found.default}")
    lines += [f"{runtime:<10} left out: {reason}" for runtime, reason in found.left_out.items()]
    lines.append(f"from now on this bundle runs on {found.fastest} here; kept in {file}")
    return "\n".join(lines)
