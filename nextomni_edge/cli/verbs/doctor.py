"""`doctor`: whether this machine can run a bundle, shown by running it."""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal

import click

from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import Console, Line, common_options
from nextomni_edge.cli.model import runtime_options
from nextomni_edge.errors import GateError, MissingRuntimeError, NextOmniError

if TYPE_CHECKING:
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.runtimes.base import Execution, Runtime
    from nextomni_edge.runtimes.choice import Choice
    from nextomni_edge.verify import Report

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
OTHER_RUNTIMES: Final = {
    "openvino": "openvino", "coreml": "coremltools", "llamacpp": "llama-cpp-python",
}  # fmt: skip
OPTIONAL: Final = ("torch", "onnx", "onnxscript", "accelerate", "gguf")


Group = Literal["machine", "libraries", "runtimes", "bundle", "proof"]
STYLES: Final = {"ok": "green", "none": "dim", "FAIL": "bold red"}


@dataclass(frozen=True)
class Check:
    """One line of the report. `failure` is the exit code that a failed check asks for, 0 where it
    did not fail."""

    group: Group
    name: str
    state: Literal["ok", "none", "FAIL"]
    detail: str
    failure: int = 0


@click.command()
@click.argument("bundle", type=BUNDLE, required=False)
@click.option(
    "--allow-unchecked",
    is_flag=True,
    help="Call all well even where a generation that the bundle can do was not compared.",
)
@runtime_options
@common_options
def doctor(
    console: Console, bundle: Path | None, allow_unchecked: bool, execution: Execution
) -> None:
    """Check this machine, its libraries and its runtimes; with BUNDLE also the bundle's files, and
    its golden trace replayed on the runtime that `run` would take.

    With -q only what failed is shown, and the verdict. Ends with 5 where a library is missing, 3
    where the bundle is damaged, 4 where the replay differs or leaves a generation unchecked.
    """
    checks = [*machine(), *gpu(), *libraries(), *providers(), *runtimes(), *tensorrt()]
    if bundle is not None:
        checks.extend(bundle_checks(console, bundle, execution, allow_unchecked))
    failures = [check for check in checks if check.state == "FAIL"]
    failed = ", ".join(check.name for check in failures)
    verdict = (
        f"{len(failures)} of {len(checks)} checks failed: {failed}" if failures else "all is well"
    )
    data = {"checks": [asdict(check) for check in checks], "ok": not failures, "verdict": verdict}
    style = STYLES["FAIL" if failures else "ok"]
    console.listing(
        data, [*lines(failures if console.quiet else checks), Line(verdict, style=style)]
    )
    if failures:
        click.get_current_context().exit(failures[-1].failure)


def lines(checks: list[Check]) -> Iterator[Line]:
    """The checks in their groups, a line each."""
    for group, own in itertools.groupby(checks, key=lambda check: check.group):
        yield Line(group, style="bold")
        for check in own:
            rest = f"  {check.name:<18} {check.detail}"
            yield Line(f"{check.state:<4}", rest, STYLES[check.state])


def machine() -> Iterator[Check]:
    yield Check("machine", "python", "ok", platform.python_version())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = (
            f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB of"
            " memory"
        )
    yield Check(
        "machine",
        "machine",
        "ok",
        f"{platform.system()} {platform.machine()}, {cores} cores{memory}",
    )


def libraries() -> Iterator[Check]:
    for name in REQUIRED:
        version = version_of(name)
        yield (
            Check("libraries", name, "ok", version)
            if version
            else Check("libraries", name, "FAIL", f"not installed; pip install {name}", 5)
        )
    for name in OPTIONAL:
        version = version_of(name)
        yield Check(
            "libraries",
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
            "runtimes",
            "onnxruntime",
            "FAIL",
            "not installed; pip install 'nextomni-edge[cpu]' or 'nextomni-edge[gpu]'",
            5,
        )
        return
    if len(found) > 1:
        yield Check(
            "runtimes",
            "onnxruntime",
            "FAIL",
            f"{' and '.join(found)} are both installed and share a folder; keep one",
            5,
        )
        return
    from nextomni_edge.runtimes.base import runtime

    try:
        onnx = runtime("onnx")
    except MissingRuntimeError as error:
        yield Check("runtimes", "onnxruntime", "FAIL", str(error), error.exit_code)
        return
    yield Check(
        "runtimes", "onnxruntime", "ok", f"{version_of(found[0])}: {', '.join(onnx.providers())}"
    )
    yield from products(onnx)


def products(onnx: Runtime) -> Iterator[Check]:
    """A product of matrices on each device of ONNX Runtime. What does not compute on a GPU that is
    not here is no failure."""
    for device, provider in onnx.PLACES.items():
        if provider not in onnx.providers():
            continue
        name, why = f"product on {device}", onnx.trouble(provider)
        if why is None:
            yield Check("runtimes", name, "ok", f"right on {provider}")
        elif device == "cpu" or gpu_names():
            detail = f"{provider}: {why}; {onnx.GPU_EXTRAS}"
            yield Check("runtimes", name, "FAIL", detail, MissingRuntimeError.exit_code)
        else:
            yield Check("runtimes", name, "none", f"{provider}: {why}; no GPU is here")


def gpu_names() -> list[str]:
    """The GPUs that NVIDIA's driver shows."""
    from nextomni_edge.runtimes.tensorrt.cuda import devices

    try:
        return [device.name for device in devices()]
    except MissingRuntimeError:
        return []


def runtimes() -> Iterator[Check]:
    """The other runtimes for a processor; none of them is needed where ONNX Runtime is there."""
    from nextomni_edge.runtimes.base import RUNTIMES, runtime

    for name, library in OTHER_RUNTIMES.items():
        version = version_of(library)
        if version is None:
            extra = RUNTIMES[name][2]
            yield Check(
                "runtimes", library, "none", f"not installed; pip install 'nextomni-edge[{extra}]'"
            )
            continue
        if name == "llamacpp":  # it breaks what computes with AMX in the same process
            yield Check("runtimes", library, "ok", f"{version}: CPU")
            continue
        try:
            where = ", ".join(runtime(name).providers())
            yield Check("runtimes", library, "ok", f"{version}: {where}")
        except NextOmniError as error:
            yield Check("runtimes", library, "FAIL", str(error), error.exit_code)


def gpu() -> Iterator[Check]:
    """The GPU that TensorRT would use; a bundle runs on the processor without one."""
    from nextomni_edge.runtimes.tensorrt.cuda import devices, driver_version

    try:
        found = [
            f"{device.name}, {device.capability}, {device.memory / 2**30:.1f} GiB"
            for device in devices()
        ]
        detail = f"{'; '.join(found)}; the driver serves CUDA {driver_version()}"
        yield Check("machine", "gpu", "ok", detail)
    except MissingRuntimeError as error:
        detail = f"{error}; engines for other machines can be built here"
        yield Check("machine", "gpu", "none", detail)


def tensorrt() -> Iterator[Check]:
    """The library that compiles for a GPU."""
    from nextomni_edge.runtimes.tensorrt.network import lacks_attention
    from nextomni_edge.runtimes.tensorrt.runtime import library

    try:
        trt = library()
        detail = f"{trt.__name__} {trt.__version__}: `compile` builds engines for {_kinds(trt)}"
        if lacks_attention(trt):
            detail += ", of graphs written out in opset 20: 10.14 is the first that reads Attention"
        yield Check("runtimes", "tensorrt", "ok", detail)
    except MissingRuntimeError as error:
        detail = str(error).removeprefix("runtime tensorrt: ")
        yield Check("runtimes", "tensorrt", "none", detail)


def _kinds(trt: ModuleType) -> str:
    from nextomni_edge.runtimes.tensorrt.build import capabilities

    return ", ".join(capabilities(trt)) or "the GPU that is here"


def bundle_checks(
    console: Console, path: Path, execution: Execution, allow_unchecked: bool
) -> Iterator[Check]:
    """The bundle's files, how it would run, and its golden trace; the first that fails is the
    last."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.runtimes.choice import choose

    group: Group = "bundle"
    name = "bundle"
    try:
        opened = Bundle.open(path)
        yield Check(group, name, "ok", f"{path}: every file is as the manifest says")
        choice = choose(opened, execution)
        yield Check(group, "runs on", "ok", _runs_on(opened, choice, execution))
        group, name = "proof", "golden trace"
        report = replayed(console, opened, choice.execution)
        yield from proof(report, allow_unchecked)
    except NextOmniError as error:
        yield Check(group, name, "FAIL", " ".join(str(error).split()), error.exit_code)


def _runs_on(bundle: Bundle, choice: Choice, asked: Execution) -> str:
    """The runtimes that `run` would take, and why."""
    from nextomni_edge.verify.replay import ran_on

    why = (
        choice.gpu
        or choice.reason
        or (
            "the default; `bench --choose` measures the others" if choice.execution == asked else ""
        )
    )
    return f"{ran_on(bundle, choice.execution)}: {'as asked' if asked.runtime else why}"


def replayed(console: Console, bundle: Bundle, execution: Execution) -> Report:
    """The golden trace replayed on this machine, whatever comes of it."""
    from nextomni_edge.verify import replay

    with console.progress("golden trace") as advance:
        return replay(bundle, execution, lambda task, share: advance(round(100 * share), 100, task))


def proof(report: Report, allow_unchecked: bool) -> Iterator[Check]:
    """What the replay showed: where it ran, components, generations and files."""
    from nextomni_edge.verify import VerificationError

    notes = "".join(f"; {note}" for note in report.notes)
    try:
        report.require(allow_unchecked)
        yield Check("proof", "golden trace", "ok", f"replayed on {report.place}{notes}")
    except VerificationError as error:
        detail = " ".join(str(error).split()) + notes
        yield Check("proof", "golden trace", "FAIL", detail, error.exit_code)
    worst = max(report.components, key=lambda name: report.components[name].error, default=None)
    largest = f", largest error {report.components[worst].error:.1e} ({worst})" if worst else ""
    detail = f"{len(report.components)} compared{largest}"
    yield _part(report, "components", report.components, detail)
    draws = sum(task.draws for task in report.tasks.values())
    unchecked = f", {len(report.unchecked)} not checked" if report.unchecked else ""
    detail = f"{len(report.tasks)} compared, {draws:,} draws, {report.near_ties} near ties"
    yield _part(report, "generations", report.tasks, detail + unchecked)
    prepared = f"{report.prepared} compared" if report.prepared else "not recorded by the exporter"
    yield _part(report, "preparation", ("preparation ",), prepared)
    yield _part(report, "digests", ("file ",), f"{report.digests} files compared")


def _part(report: Report, name: str, prefixes: Iterable[str], detail: str) -> Check:
    """A part of the proof, failed where a failure begins with one of the prefixes."""
    failed = sum(failure.startswith(tuple(prefixes)) for failure in report.failures)
    if failed:
        return Check("proof", name, "FAIL", f"{detail}; {failed} failures", GateError.exit_code)
    return Check("proof", name, "ok", detail)
