"""Demonstrations at real size in stages: each stage is a process of its own, whose peak memory is
measured, and a stage that is done stays done."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextomni_edge.cli.console import Console
from nextomni_edge.errors import InputError, NextOmniError, UsageError
from nextomni_edge.files import atomic_write

if TYPE_CHECKING:
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.tokens.sequence import Sequence

Tell = Callable[[str, float], None]
Result = dict[str, Any]
LIBRARIES = ("torch", "onnx-ir", "onnxruntime", "numpy")


def status(key: str) -> int:
    """Bytes of an entry of this process's status. Not getrusage's peak, which a process inherits
    from the one that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def check_free(folder: Path, needed: int, available: int | None, wanted: int) -> None:
    """UsageError, before anything is written: the folder's disk has less than `needed` bytes, or
    `available` memory, where it is known, is less than `wanted`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{folder}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed; free some or"
            " choose another --folder"
        )
    if available is not None and available < wanted:
        raise UsageError(
            f"{available / 1e9:.1f} GB of memory are free, {wanted / 1e9:.1f} GB are needed; end"
            " other programs first"
        )


def quantise(source: Path, out: Path, recipe_name: str, tell: Tell) -> Result:
    """An integer bundle of the float16 one, round to nearest, nothing run."""
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.recipes.config import recipe

    report = quantize(source, out, recipe(recipe_name), overwrite=True, progress=tell)
    return accounted(out) | {"components": report.components}


def accounted(bundle: Path) -> Result:
    """Bytes on the disk. InputError: they are not those that the graphs reference."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.bundle.accounting import account

    opened = Bundle.open(bundle, verify_hashes=False)
    found = account(opened)
    if not found.exact:
        raise InputError(
            f"{bundle}: {found.on_disk:,} bytes of weights, its graphs reference"
            f" {found.referenced:,}"
        )
    total = sum(record.size for record in opened.manifest.files.values())
    return {
        "bytes": total,
        "weights_on_disk": found.on_disk,
        "weights_referenced": found.referenced,
        "largest_file": found.largest_file,
    }


def loaded_since(began: float) -> Result:
    """Seconds of loading, and the memory that it took."""
    return {
        "load_seconds": time.perf_counter() - began,
        "peak_after_load": status("VmHWM"),
        "private_after_load": status("RssAnon"),
        "mapped_after_load": status("RssFile"),
    }


def generated(
    model: EdgeModel, sequence: Sequence, options: GenerationOptions, tell: Callable[[int], None]
) -> Result:
    """Generate one answer: the seconds of its steps, of its forwards, and of its parts."""
    from nextomni_edge.generate.loop import generate
    from nextomni_edge.generate.meter import Meter

    meter, worked = Meter(keeps_events=True), time.process_time()
    found = generate(
        model, sequence, options, observe=lambda record: tell(record.step + 1), meter=meter
    )
    worked = time.process_time() - worked
    seconds = [ended - start for name, start, ended in meter.events if name == "step"]
    return {
        "steps": options.steps,
        "step_seconds": seconds,
        "forwards": meter.forwards,
        "seconds_per_forward": sum(seconds) / meter.forwards,
        "processor_seconds_per_forward": worked / meter.forwards,
        "part_seconds": {
            name: meter.seconds[name] for name in ("embed", "backbone", "head", "draw", "flow")
        },
        "positions": sum(len(segment) for segment in sequence.segments),
        "generated": sum(len(found.segments[index]) for index in found.generated()),
    }


def load(folder: Path) -> dict[str, Result]:
    """Results of the stages that are done."""
    path = folder / "done.json"
    found: dict[str, Result] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def child(work: Callable[[Tell], Result]) -> None:
    """One stage: progress, then the result, as lines of JSON."""

    def tell(what: str, share: float) -> None:
        print(json.dumps({"what": what, "share": share}), flush=True)

    began = time.perf_counter()
    result = work(tell)
    times = os.times()
    measured = {
        "peak_bytes": status("VmHWM"),
        "seconds": time.perf_counter() - began,
        "processor_seconds": times.user + times.system,
    }
    print(json.dumps({"result": result | measured}), flush=True)


def supervised(command: list[str], stage: str, tell: Tell) -> Result:
    """A stage in a process of its own. NextOmniError: it failed; what it said is on stderr."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # it was asked for
            for line in process.stdout:
                said = json.loads(line)
                if "result" in said:
                    return dict(said["result"])
                tell(f"{stage}: {said['what']}", said["share"])
        except KeyboardInterrupt:
            process.terminate()
            raise
    raise NextOmniError(
        f"stage {stage} failed with exit code {process.returncode}; run the same command to go on"
    )


def run_stages(
    title: str,
    shares: Mapping[str, float],
    folder: Path,
    run: Callable[[str, Tell], Result],
    removed: Mapping[str, str],
) -> dict[str, Result]:
    """Every stage that is not done, in order. `shares` are the stages' parts of the time, and
    `removed` names the folder that nothing needs behind a stage."""
    done = load(folder)
    console = Console(progress_form="auto" if sys.stderr.isatty() else "plain")
    with console.progress(title) as advance:
        for stage, part in shares.items():
            if stage not in done:
                before = sum(share for name, share in shares.items() if name in done)

                def tell(what: str, share: float, b: float = before, p: float = part) -> None:
                    advance(round(1000 * (b + p * share)), 1000, what)

                done[stage] = run(stage, tell)
                with atomic_write(folder / "done.json", "w") as file:
                    json.dump(done, file)
            if stage in removed:
                shutil.rmtree(folder / removed[stage], ignore_errors=True)
        advance(1000, 1000, "done")
    return done


def check_limits(done: Mapping[str, Result], limits: Mapping[str, int]) -> None:
    """NextOmniError: a stage took more memory than is promised."""
    for stage, limit in limits.items():
        if not done[stage]["peak_bytes"] <= limit:
            raise NextOmniError(
                f"stage {stage} took {done[stage]['peak_bytes'] / 1e9:.2f} GB, at most"
                f" {limit / 1e9:.0f} are promised"
            )


def write(path: Path, done: Mapping[str, Result]) -> None:
    """All numbers, with what they were measured on."""
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
    }
    with atomic_write(path, "w") as file:
        file.write(json.dumps(machine | {"stages": done}, indent=1) + "\n")


def ended(main: Callable[[], None]) -> None:
    """Run a script; a fault that has a name becomes its line and exit code."""
    try:
        main()
    except NextOmniError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
