"""`doctor`: whether this machine can run a bundle, shown by running it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal

import click

from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.errors import MissingRuntimeError, NextOmniError

if TYPE_CHECKING:
    from nextomni_edge.bundle import Bundle

REQUIRED: Final = (
    "numpy",
    "array-api-compat",
    "tokenizers",
    "safetensors",
    "click",
    "rich",
    "Pillow",
    "soundfile",
    "av",
)
RUNTIME_LIBRARIES: Final = ("onnxruntime", "onnxruntime-gpu")
OPTIONAL: Final = (
    "torch",
    "onnx",
    "onnxscript",
    "accelerate",
    "openvino",
    "coremltools",
    "gguf",
    "llama-cpp-python",
)


@dataclass(frozen=True)
class Check:
    """One line of the report. `failure` is the exit code that a failed check asks for, 0 where it
    did not fail."""

    name: str
    state: Literal["ok", "none", "FAIL"]
    detail: str
    failure: int = 0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@common_options
def doctor(console: Console, bundle: Path | None) -> None:
    """Check libraries, providers and this machine; with BUNDLE also its files, and its golden trace
    replayed here.

    Ends with 5 where a library is missing, 3 where the bundle is not as it must be, 4 where the
    replay differs.
    """
    checks = [*machine(), *libraries(), *providers(), *tensorrt()]
    if bundle is not None:
        checks.extend(bundle_checks(console, bundle))
    failures = [check for check in checks if check.state == "FAIL"]
    failed = ", ".join(check.name for check in failures)
    verdict = (
        f"{len(failures)} of {len(checks)} checks failed: {failed}" if failures else "all is well"
    )
    lines = [f"{check.state:<4}  {check.name:<18} {check.detail}" for check in checks]
    data = {"checks": [asdict(check) for check in checks], "ok": not failures, "verdict": verdict}
    console.result(data, "\n".join([*lines, verdict]))
    if failures:
        click.get_current_context().exit(failures[-1].failure)


def machine() -> Iterator[Check]:
    yield Check("python", "ok", platform.python_version())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = (
            f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB of"
            " memory"
        )
    yield Check("machine", "ok", f"{platform.system()} {platform.machine()}, {cores} cores{memory}")


def libraries() -> Iterator[Check]:
    for name in REQUIRED:
        version = version_of(name)
        yield (
            Check(name, "ok", version)
            if version
            else Check(name, "FAIL", f"not installed; pip install {name}", 5)
        )
    for name in OPTIONAL:
        version = version_of(name)
        yield Check(
            name,
            "ok" if version else "none",
            version or "not installed; not needed to run a bundle",
        )


def version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def providers() -> Iterator[Check]:
    """The runtime library, and what it can run on. Two builds of ONNX Runtime share a folder and
    break each other."""
    found = [name for name in RUNTIME_LIBRARIES if version_of(name)]
    if not found:
        yield Check(
            "onnxruntime",
            "FAIL",
            "not installed; pip install 'nextomni-edge[cpu]' or 'nextomni-edge[gpu]'",
            5,
        )
        return
    if len(found) > 1:
        yield Check(
            "onnxruntime",
            "FAIL",
            f"{' and '.join(found)} are both installed and share a folder; keep one",
            5,
        )
        return
    from nextomni_edge.runtimes.base import runtime

    try:
        yield Check(
            "onnxruntime", "ok", f"{version_of(found[0])}: {', '.join(runtime('onnx').providers())}"
        )
    except MissingRuntimeError as error:
        yield Check("onnxruntime", "FAIL", str(error), error.exit_code)


def tensorrt() -> Iterator[Check]:
    """The GPU and the library that compiles for it; neither is needed to run a bundle on the
    processor."""
    from nextomni_edge.runtimes.tensorrt.cuda import devices, driver_version
    from nextomni_edge.runtimes.tensorrt.runtime import library

    try:
        found = [
            f"{device.name}, {device.capability}, {device.memory / 2**30:.1f} GiB"
            for device in devices()
        ]
        yield Check("gpu", "ok", f"{'; '.join(found)}; the driver serves CUDA {driver_version()}")
    except MissingRuntimeError as error:
        yield Check(
            "gpu", "none", f"{error}; engines can be built here for other machines, and run there"
        )
    try:
        trt = library()
        yield Check(
            "tensorrt",
            "ok",
            f"{trt.__name__} {trt.__version__}: `compile` builds engines for {_kinds(trt)}",
        )
    except MissingRuntimeError as error:
        yield Check("tensorrt", "none", str(error).removeprefix("runtime tensorrt: "))


def _kinds(trt: ModuleType) -> str:
    from nextomni_edge.runtimes.tensorrt.build import capabilities

    return ", ".join(capabilities(trt)) or "the GPU that is here"


def bundle_checks(console: Console, path: Path) -> Iterator[Check]:
    """The bundle's files, and its golden trace; the second only where the first is well."""
    from nextomni_edge.bundle import Bundle

    name = "bundle"
    try:
        opened = Bundle.open(path)
        yield Check(name, "ok", f"{path}: every file is as the manifest says")
        name = "golden trace"
        yield Check(name, "ok", replayed(console, opened))
    except NextOmniError as error:
        yield Check(name, "FAIL", " ".join(str(error).split()), error.exit_code)


def replayed(console: Console, bundle: Bundle) -> str:
    """Replay the golden trace on this machine. GateError: it differs."""
    from nextomni_edge.verify import replay

    with console.progress("golden trace") as advance:
        report = replay(
            bundle, progress=lambda task, share: advance(round(100 * share), 100, task)
        ).require()
    draws = sum(task.draws for task in report.tasks.values())
    prepared = f"{report.prepared} preparations" if report.prepared else "no preparation recorded"
    worst = max((part.error for part in report.components.values()), default=0.0)
    return (
        f"{len(report.components)} components within {worst:.1e}, {len(report.tasks)} generations"
        f" with the same {draws} draws, {report.digests} digests,"
        f" {prepared}, {report.near_ties} near ties"
    )
