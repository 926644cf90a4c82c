"""INT8 on another kind of processor: how far a golden trace's outputs move, and what ONNX Runtime's
`session.x64quantprecision` costs.

    python benchmarks/int8_processors.py replay BUNDLE... -o OUT.json
    qemu-x86_64 -cpu Haswell python benchmarks/int8_processors.py replay BUNDLE... -o OUT.json
    python benchmarks/int8_processors.py roundings BUNDLE... -o OUT.json
    python benchmarks/int8_processors.py cost BUNDLE... -o OUT.json

`replay` compares without any tolerance: of each component the largest error relative to an output's
scale, and the margins of the codes that differ; of each generation the margins of the draws at its
first step that differs. `--precision 0` turns the option off.
`roundings` moves a component's float inputs by their last digit (`DIGIT`), as another float kernel
would, and records how far its outputs go: a value on the border of two integers falls to the other
one. `cost` times each component with the option off and on, interleaved: the median and the least
of `--repeats` calls. The least is what the machine's other work disturbs least.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Execution, Session
from nextomni_edge.runtimes.machine import Machine, integer_features
from nextomni_edge.spec import Wire
from nextomni_edge.verify import golden, trajectory
from nextomni_edge.verify.comparison import error
from nextomni_edge.verify.components import MARGINS
from nextomni_edge.verify.golden import GoldenTrace

OPTION: Final = "session.x64quantprecision"
DIGIT: Final = 3e-7  # relative; the demo in float32 differs by 7.5e-8 under Haswell
OPTIONS: Final = onnxruntime.SessionOptions


def set_precision(value: str) -> None:
    """Every session from here on has the option at `value`, whatever the runtime asks for."""

    class Options(OPTIONS):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            super().add_session_config_entry(OPTION, value)

        def add_session_config_entry(self, key: str, asked: str) -> None:
            if key != OPTION:
                super().add_session_config_entry(key, asked)

    onnxruntime.SessionOptions = Options


def component(session: Session, cases: dict[str, Any]) -> dict[str, Any]:
    """A component's largest error, and the margins of the codes that differ."""
    worst, codes, flips = 0.0, 0, 0
    margins: list[float] = []
    for inputs, expected in cases.values():
        found = session.run(inputs)
        for tensor in session.spec.outputs:
            ours, theirs = found[tensor.name], expected[tensor.name]
            if tensor.name == Wire.CODES:
                codes += theirs.size
                flips += int((ours != theirs).sum())
                if MARGINS in expected:  # a quantised bundle's own trace has none
                    margins += expected[MARGINS][ours != theirs].tolist()
            else:
                worst = max(worst, error(ours, theirs))
    return {
        "cases": len(cases),
        "error": worst,
        "codes": codes,
        "differ": flips,
        "margins": margins,
    }


def generation(model: EdgeModel, trace: GoldenTrace, name: str) -> dict[str, Any]:
    """Steps that are the same, and the margins of the first draws that differ."""
    task, expected = trace.tasks[name]
    found = trajectory.run(model, task)
    steps = min(len(found.x_1[0]), len(expected.x_1[0]))
    for step in range(steps):
        margins = [
            float(margin)
            for ours, theirs, segment in zip(found.x_1, expected.x_1, expected.margins, strict=True)
            for margin in segment[step][ours[step] != theirs[step]]
        ]
        if margins:
            return {"same_steps": step, "of": steps, "margins": margins}
    pairs = zip(found.decoded, expected.decoded, strict=True)
    decoded = [error(ours, theirs) for ours, theirs in pairs]
    return {"same_steps": steps, "of": steps, "margins": [], "decoded": max(decoded, default=0.0)}


def replayed(path: Path, tasks: list[str], skip: list[str]) -> dict[str, Any]:
    bundle = Bundle.open(path, verify_hashes=False)
    model, trace = EdgeModel.from_bundle(bundle, Execution("onnx")), golden.read(bundle)
    found: dict[str, Any] = {"components": {}, "tasks": {}}
    for name, cases in trace.cases.items():
        if name in skip:
            continue
        found["components"][name] = component(model.session(name), cases)
        print(path.name, name, found["components"][name], flush=True)
    for name in [name for name in trace.tasks if name in tasks or tasks == ["all"]]:
        found["tasks"][name] = generation(model, trace, name)
        print(path.name, name, found["tasks"][name], flush=True)
    return found


def roundings(path: Path, repeats: int) -> dict[str, Any]:
    """The largest errors of each component over `repeats` seeds of moved inputs, by output."""
    bundle, random = Bundle.open(path, verify_hashes=False), np.random.default_rng(0)
    model, trace = EdgeModel.from_bundle(bundle, Execution("onnx")), golden.read(bundle)
    found: dict[str, Any] = {}
    for name, cases in trace.cases.items():
        errors, codes, flips = [], 0, 0
        for inputs, expected in cases.values():
            for _ in range(repeats):
                outputs = model.session(name).run(moved(inputs, random))
                floats = [key for key in outputs if key != Wire.CODES]
                errors += [error(outputs[key], expected[key]) for key in floats]
                if Wire.CODES in outputs:
                    codes += expected[Wire.CODES].size
                    flips += int((outputs[Wire.CODES] != expected[Wire.CODES]).sum())
        found[name] = {
            "error": max(errors, default=0.0),
            "median_error": float(np.median(errors)) if errors else 0.0,
            "codes": codes,
            "differ": flips,
        }
        print(path.name, name, found[name], flush=True)
    return found


def moved(inputs: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """Float32 inputs times 1 ± DIGIT."""
    return {
        name: (value * (1 + DIGIT * random.uniform(-1, 1, value.shape))).astype(np.float32)
        if value.dtype == np.float32
        else value
        for name, value in inputs.items()
    }


def cost(path: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds of one call on each component's last case, with the option off and on."""
    bundle = Bundle.open(path, verify_hashes=False)
    models = {}
    trace = golden.read(bundle)
    for value in ("0", "1"):
        set_precision(value)
        models[value] = EdgeModel.from_bundle(bundle, Execution("onnx", threads=1))
        for name in trace.cases:
            models[value].session(name)
    found: dict[str, Any] = {}
    for name, cases in trace.cases.items():
        inputs, _ = list(cases.values())[-1]
        times: dict[str, list[float]] = {"0": [], "1": []}
        same = [models[value].session(name).run(inputs) for value in ("0", "1")]
        for index in range(2 * repeats):
            value = "01"[(index + index // 2) % 2]  # 0 1 1 0 …
            start = time.perf_counter()
            models[value].session(name).run(inputs)
            times[value].append(1e3 * (time.perf_counter() - start))
        medians = {value: statistics.median(times[value]) for value in times}
        least = {value: min(times[value]) for value in times}
        equal = all(np.array_equal(same[0][key], same[1][key]) for key in same[0])
        found[name] = {
            "ms": medians,
            "ratio": medians["1"] / medians["0"],
            "least_ms": least,
            "least_ratio": least["1"] / least["0"],
            "equal": equal,
        }
        print(path.name, name, found[name], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("replay", "roundings", "cost"))
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--precision", choices=("0", "1"), default="1")
    parser.add_argument("--tasks", nargs="*", default=["all"])
    parser.add_argument("--skip", nargs="*", default=[], help="components that take too long")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/int8_processors.json"))
    given = parser.parse_args()
    set_precision(given.precision)
    found: dict[str, Any] = {
        "what": given.what,
        "precision": given.precision if given.what == "replay" else "0 and 1",
        "features": integer_features(),
        "machine": str(Machine.here()),
        "onnxruntime": onnxruntime.__version__,
    }
    for path in given.bundles:
        if given.what == "replay":
            found[path.name] = replayed(path, given.tasks, given.skip)
        else:
            measure = roundings if given.what == "roundings" else cost
            found[path.name] = measure(path, given.repeats)
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
