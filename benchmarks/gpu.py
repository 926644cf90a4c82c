"""All that a GPU computes, in one command of at most six minutes: `python benchmarks/gpu.py
[--provider cuda|cpu] [-o FILE]`.

It first asks whether the GPU gives the right tokens, and only then how fast they come:

1. `machine`: the device, its driver, the libraries.
2. `tokens`: the golden trace of the bundle on ONNX Runtime's provider, task by task.
3. `caches`: under every cache policy, the tokens of nine tasks on the provider and on the
   processor, and where keys and values lie.
4. `torch`: the model in PyTorch on the device, in float32, bfloat16 and float16, against the
   processor's tokens.
5. `variants`: the trace of an INT8 and of an INT4 variant, and of float16 weights.
6. `engines`: the trace on TensorRT, where its library is installed and takes this GPU.
7. `steps`: one backbone step of a half-billion and of a 7 B shape (gpu_steps.py).

Each phase is a process of its own: one that crashes takes no other with it. After each phase the
file is written again. A phase that the time does not reach is listed under `not_begun`. With
`--provider cpu` the same phases run on the processor, with small shapes in the last: a rehearsal.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import gpu_steps
import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Compute, Execution
from nextomni_edge.runtimes.machine import Machine
from nextomni_edge.tasks import Task, plans_of
from nextomni_edge.verify import VerificationError, verify

ROOT: Final = Path(__file__).resolve().parents[1]
POLICIES: Final[tuple[dict[str, Any], ...]] = (
    {},
    *({"kv_cache": name} for name in ("prefix", "adaptive", "revised")),
    {"kv_cache": "revised", "refresh_prompt": 3, "refresh": 3},
)
HALVES: Final[tuple[Compute, ...]] = ("float32", "bfloat16", "float16")
RECIPES: Final = ("int8-dynamic", "int4-rtn")
LIBRARIES: Final = ("torch", "onnxruntime", "onnxruntime-gpu", "numpy", "nextomni-edge")


def machine(given: argparse.Namespace) -> dict[str, Any]:
    import torch

    versions = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    found = {
        "processor": dataclasses.asdict(Machine.here()),
        "versions": {name: versions[name] for name in LIBRARIES if name in versions},
        "cuda": torch.version.cuda,
    }
    if given.provider == "cuda":
        kind = torch.cuda.get_device_properties(0)
        found["device"] = {
            "name": kind.name, "memory": kind.total_memory, "capability": [kind.major, kind.minor],
        }  # fmt: skip
    return found


def tokens(given: argparse.Namespace) -> dict[str, Any]:
    return verified(given.bundle, Execution("onnx", given.provider))


def verified(bundle: Path, execution: Execution) -> dict[str, Any]:
    """What `verify` reports of a bundle."""
    began = time.monotonic()
    try:
        report = verify(bundle, None, execution, allow_unchecked=True)
    except VerificationError as error:
        report = error.report
    ok = not report.failures
    return report.to_json() | {"ok": ok, "seconds": time.monotonic() - began}


def caches(given: argparse.Namespace) -> dict[str, Any]:
    """By task and policy: the share of tokens that are the processor's, and seconds of both."""
    here, there = (model_of(given.bundle, provider) for provider in ("cpu", given.provider))
    state = there.session("backbone").state(1, 4)
    found: dict[str, Any] = {"provider": there.providers(), "state": type(state).__name__}
    for plan in plans_of(here.config):
        task = plan.task(here)
        found[plan.name] = [alike(task, here, there, policy) for policy in POLICIES]
    found["ok"] = all(
        row["equal"] == 1.0 for plan in plans_of(here.config) for row in found[plan.name]
    )
    return found


def model_of(bundle: Path, provider: str) -> EdgeModel:
    return EdgeModel.from_bundle(Bundle.open(bundle), Execution("onnx", provider))


def alike(task: Task, here: EdgeModel, there: EdgeModel, policy: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"policy": policy, "seconds": []}
    answers = []
    for model in (here, there):
        began = time.monotonic()
        answers.append(answer(model, task, policy))
        row["seconds"].append(time.monotonic() - began)
    return row | {"equal": float((answers[0] == answers[1]).mean())}


def answer(model: EdgeModel, task: Task, policy: dict[str, Any]) -> NDArray[Any]:
    """The tokens of a task's answer, flat."""
    found = generate(model, task.sequence, task.options.changed(**policy))
    return np.concatenate([found.segments[at].tokens.ravel() for at in found.generated()])


def in_torch(given: argparse.Namespace) -> dict[str, Any]:
    """By arithmetic and task: the share of tokens that are those of the bundle on the processor."""
    here, found = model_of(given.bundle, "cpu"), {}
    for compute in HALVES:
        how = Execution("torch", given.provider, compute)
        there = EdgeModel.from_checkpoint(given.model, how)
        found[compute] = {
            plan.name: alike(plan.task(here), here, there, {}) for plan in plans_of(here.config)
        }
    return found | {"ok": all(row["equal"] == 1.0 for row in found["float32"].values())}


def variants(given: argparse.Namespace) -> dict[str, Any]:
    """Made here from the bundle and the model, and verified on the provider."""
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.recipes.config import recipe
    from nextomni_edge.export import export_bundle

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in RECIPES:
            quantize(given.bundle, Path(folder) / name, recipe(name))
        export_bundle(given.model, Path(folder) / "float16", precision="float16", verify="golden")
        for name in (*RECIPES, "float16"):
            found[name] = verified(Path(folder) / name, Execution("onnx", given.provider))
    return found | {"ok": all(one["ok"] for one in found.values())}


def engines(given: argparse.Namespace) -> dict[str, Any]:
    """`not_run` is why no engine was built."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nextomni_edge", "compile", given.bundle]
        done = subprocess.run(
            [*command, "--cache", folder], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return {"not_run": done.stderr.splitlines()[-1]}
        return verified(given.bundle, Execution("tensorrt", cache=Path(folder)))


def steps(given: argparse.Namespace) -> dict[str, Any]:
    return gpu_steps.measured(given.provider, given.folder, given.seconds)


PHASES: Final[dict[str, Callable[[argparse.Namespace], dict[str, Any]]]] = {
    "machine": machine,
    "tokens": tokens,
    "caches": caches,
    "torch": in_torch,
    "variants": variants,
    "engines": engines,
    "steps": steps,
}


def alone(name: str, given: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """A phase in a process of its own; `error` is why it gave nothing."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "phase.json"
        own = {
            "--phase": name, "--provider": given.provider, "--bundle": given.bundle,
            "--model": given.model, "--folder": given.folder, "--seconds": seconds, "-o": out,
        }  # fmt: skip
        command = [sys.executable, __file__, *(str(part) for pair in own.items() for part in pair)]
        try:
            code = subprocess.run(command, timeout=seconds + 10, check=False).returncode
        except subprocess.TimeoutExpired:
            return {"error": f"not done within {seconds:.0f} s"}
        if code or not out.exists():
            return {"error": f"its process ended with {code}"}
        done: dict[str, Any] = json.loads(out.read_text())
        return done | {"wall_s": time.monotonic() - began}


def write(file: Path, data: dict[str, Any]) -> None:
    with atomic_write(file, "w") as out:
        out.write(json.dumps(data, indent=1) + "\n")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--bundle", type=Path, default=ROOT / "demo/bundle")
    parser.add_argument("--model", type=Path, default=ROOT / "examples/emoji/checkpoint")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build/gpu", help="where the shapes are made and kept"
    )
    parser.add_argument(
        "--seconds", type=float, default=360.0, help="no phase goes on after so many"
    )
    parser.add_argument("--phases", help=f"some of {','.join(PHASES)}; by default all")
    parser.add_argument("--prepare", action="store_true", help="make the shapes and end")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser


def main() -> int:
    """Exit code 4: a phase failed, or tokens differ."""
    given, began = options().parse_args(), time.monotonic()
    if given.prepare:
        gpu_steps.prepare(given.provider, given.folder)
        return 0
    if given.phase:
        write(given.out, PHASES[given.phase](given))
        return 0
    names = given.phases.split(",") if given.phases else list(PHASES)
    if unknown := [name for name in names if name not in PHASES]:
        sys.exit(f"phase {unknown[0]!r}: expected some of {', '.join(PHASES)}")
    found: dict[str, Any] = {"provider": given.provider, "not_begun": []}
    for name in names:
        left = given.seconds - (time.monotonic() - began)
        if left < 1:
            found["not_begun"].append(name)
        else:
            print(f"{name}: {left:.0f} s left", file=sys.stderr, flush=True)
            found[name] = alone(name, given, left)
        write(given.out, found | {"wall_s": time.monotonic() - began})
    return report(found)


def report(found: dict[str, Any]) -> int:
    """Print a line for each phase, and the table of steps; the exit code."""
    failed = 0
    for name in (name for name in PHASES if name in found):
        phase = found[name]
        wrong = phase.get("error") or ("tokens differ" if phase.get("ok") is False else "")
        failed += bool(wrong)
        print(f"{name}: {wrong or phase.get('not_run') or 'ok'}")
    if "rows" in found.get("steps", {}):
        print(gpu_steps.table(found["steps"]))
    for name in found["not_begun"]:
        print(f"{name}: not begun, no time was left")
    return 4 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
