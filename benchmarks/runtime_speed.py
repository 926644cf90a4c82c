"""One backbone step on every runtime for a processor: `python benchmarks/runtime_speed.py [--folder
DIR] [-o FILE]`.

Embeddings in, hidden states out, every row attends to all, nothing kept from before: 64 and 256
rows of Qwen2.5-0.5B's backbone (24 layers, 896 wide, 14 query and 2 key heads, MLP 4,864) with
random weights. PyTorch eager in float32 is what the others are compared with: seconds as a ratio,
and beside it ‖h − h₀‖ / ‖h₀‖ of the hidden states on the same inputs. That error is of the
arithmetic on random weights, no quality. Each contender is a process of its own that loads once;
they take turns, round after round, until the rounds or the time are used up; medians are taken.
Static ranges come from random trajectories.

The bundles are those of benchmarks/latency.py (its folder `half-a-billion` does), with the model
and two GGUF bundles beside them: 5 GB, made at first use in some five minutes; `--prepare` makes
them and ends. `--quick` tries the script on a small shape.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import export_memory
import latency
import numpy as np
from contenders import Contender, answer_all, clock, parser, started
from numpy.typing import NDArray

from nextomni_edge.files import atomic_write
from nextomni_edge.runtimes.machine import Machine
from nextomni_edge.spec import ComponentName, GraphSpec, Wire

Array = NDArray[Any]

ROWS: Final = (64, 256)
REFERENCE: Final = "PyTorch eager float32"
MODEL: Final = "model"
GGUF: Final = ("q8_0", "q4_0")
# name: (runtime, what it loads of the folder, arithmetic)
CONTENDERS: Final = {
    REFERENCE: ("torch", MODEL, "float32"),
    "PyTorch eager bfloat16": ("torch", MODEL, "bfloat16"),
    "torch.compile bfloat16": ("torch.compile", MODEL, "bfloat16"),
    "ONNX Runtime float32": ("onnx", "parent", "float32"),
    "ONNX Runtime INT8 dynamic": ("onnx", "int8-dynamic", "float32"),
    "ONNX Runtime INT8 static": ("onnx", "int8-static", "float32"),
    "ONNX Runtime INT4": ("onnx", "int4-rtn", "float32"),
    "OpenVINO float32": ("openvino", "parent", "float32"),
    "OpenVINO bfloat16": ("openvino", "parent", "bfloat16"),
    "OpenVINO INT8 dynamic": ("openvino", "int8-dynamic", "float32"),
    "OpenVINO INT8 static": ("openvino", "int8-static", "float32"),
    "OpenVINO INT4": ("openvino", "int4-rtn", "float32"),
    "llama.cpp Q8_0": ("llamacpp", "q8_0", "float32"),
    "llama.cpp Q4_0": ("llamacpp", "q4_0", "float32"),
}
LIBRARIES: Final = {"torch.compile": "torch", "onnx": "onnxruntime", "llamacpp": "llama-cpp-python"}
QUICK: Final = {
    "hidden_size": 128,
    "layers": 2,
    "query_heads": 2,
    "kv_heads": 1,
    "mlp_size": 256,
    "max_positions": 1024,
}


def prepare(folder: Path, wanted: set[str], quick: bool) -> None:
    """Make what is not there yet of the model, its bundle, the bundle's variants and the GGUF
    bundles."""
    from nextomni_edge.export import export_bundle

    model, parent = folder / MODEL, folder / "parent"
    if not model.exists():
        settings = latency.settings()
        part = folder / "model.part"
        export_memory.make_model(part, settings | ({"backbone": QUICK} if quick else {}))
        part.rename(model)
    if wanted - {MODEL, *GGUF} and not parent.exists():
        export_bundle(model, parent, components=latency.COMPONENTS, verify="none")
    if wanted & set(latency.VARIANTS):
        latency.make_variants(parent, folder)
    for precision in GGUF:
        if precision in wanted and not (folder / precision).exists():
            export_bundle(
                model,
                folder / precision,
                (ComponentName.BACKBONE,),
                target="gguf",
                precision=precision,
                verify="none",
            )


def inputs(spec: GraphSpec, rows: int) -> dict[str, Array]:
    """A sequence of so many rows, as the embedding table would give them, behind nothing."""
    sizes = {"batch": 1, "rows": rows, "past": 0, "attended": rows}
    given: dict[str, Array] = {
        Wire.POSITIONS: np.arange(rows)[None],
        Wire.ATTENTION_MASK: np.ones((1, rows), np.bool_),
    }
    for tensor in spec.inputs:
        shape = tensor.shape(sizes)
        if tensor.name == Wire.EMBEDDINGS:
            given[tensor.name] = 0.02 * np.random.default_rng(rows).standard_normal(
                shape, np.float32
            )
        elif tensor.name not in given:
            given[tensor.name] = np.zeros(shape, tensor.dtype)
    return {tensor.name: given[tensor.name] for tensor in spec.inputs}


Clock = Callable[[], float]
Step = Callable[[int], tuple[float, Array]]


def of_runtime(
    runtime_name: str,
    path: Path,
    compute: Any,
    provider: str | None = None,
    now: Clock = time.perf_counter,
) -> Step:
    """A step on one of our runtimes: seconds by a clock, and hidden states (rows, H)."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.runtimes.base import Execution, runtime

    bundle, name = Bundle.open(path, verify_hashes=False), ComponentName.BACKBONE
    loader = runtime(runtime_name, Execution(runtime_name, compute=compute))
    session = loader.load(name, bundle.component_file(name), bundle.spec(name), provider)

    def step(rows: int) -> tuple[float, Array]:
        given = inputs(session.spec, rows)
        began = now()
        hidden = session.run(given, [Wire.HIDDEN])[Wire.HIDDEN]
        return now() - began, hidden[0]

    return step


def of_torch(
    compiled: bool, path: Path, compute: str, device: str = "cpu", now: Clock = time.perf_counter
) -> Step:
    """A step in PyTorch; compiled: by inductor for each number of rows, with the weights frozen
    into its layout. Seconds are from tensors on the processor to an array there."""
    import torch

    from nextomni_edge.models import networks
    from nextomni_edge.models.components import components

    component, dtype = (
        components(networks.load(path))[ComponentName.BACKBONE],
        getattr(torch, compute),
    )
    module = component.module.to(device, dtype).eval()
    hidden = [tensor.name for tensor in component.spec.outputs].index(Wire.HIDDEN)
    if compiled:
        import torch._inductor.config

        torch._inductor.config.freezing = True
        module = torch.compile(module, dynamic=False)

    def step(rows: int) -> tuple[float, Array]:
        tensors = [torch.tensor(array) for array in inputs(component.spec, rows).values()]
        given = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        # inference mode would keep inductor from freezing; attention's rotated queries are float32
        # unless cast
        with torch.no_grad(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
            began = now()
            found = module(*(tensor.to(device) for tensor in given))[hidden][0]
            states: Array = found.float().cpu().numpy()
            seconds = now() - began
        return seconds, states

    return step


def work(name: str, folder: Path, now: Clock) -> None:
    """A contender's process. Asked with a file, it writes its hidden states there."""
    runtime_name, entry, compute = CONTENDERS[name]

    def load() -> Callable[[dict[str, Any]], float]:
        in_torch = runtime_name.startswith("torch")
        step = (
            of_torch("." in runtime_name, folder / entry, compute, now=now)
            if in_torch
            else of_runtime(runtime_name, folder / entry, compute, now=now)
        )

        def respond(asked: dict[str, Any]) -> float:
            seconds, hidden = step(asked["rows"])
            if "file" in asked:
                np.save(asked["file"], hidden)
            return seconds

        return respond

    answer_all(load, lambda: metadata.version(LIBRARIES.get(runtime_name, runtime_name)))


def measure(
    contenders: list[Contender], rounds: int, budget: float, sizes: Sequence[int] = ROWS
) -> list[dict[str, Any]]:
    """Every contender at every number of rows: the hidden states of a first pass that is not timed,
    then seconds in rounds; the last round is the one in which the time is used up."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for one in contenders:
            print(f"first pass of {one.name}", file=sys.stderr, flush=True)
            for rows in sizes:
                file = Path(folder) / "hidden.npy"
                first = one.seconds(rows=rows, file=str(file))
                found.append(
                    {
                        "name": one.name,
                        "rows": rows,
                        "first_s": first,
                        "hidden": np.load(file),
                        "seconds": [],
                    }
                )
    by_name, deadline = {one.name: one for one in contenders}, time.monotonic() + budget
    for number in range(rounds):
        if number and time.monotonic() > deadline:
            break
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for row in found:
            row["seconds"].append(by_name[row["name"]].seconds(rows=row["rows"]))
    return found


def summarise(found: list[dict[str, Any]], reference: str = REFERENCE) -> None:
    """Give each row its median, how many times as fast as the reference it is, and its error; the
    hidden states go."""
    hidden = {
        row["rows"]: row["hidden"].astype(np.float64) for row in found if row["name"] == reference
    }
    medians = {
        row["rows"]: statistics.median(row["seconds"]) for row in found if row["name"] == reference
    }
    for row in found:
        whole = hidden[row["rows"]]
        row["median_s"] = statistics.median(row["seconds"])
        row["times_as_fast"] = medians[row["rows"]] / row["median_s"]
        row["error"] = float(np.linalg.norm(row.pop("hidden") - whole) / np.linalg.norm(whole))


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: a line per contender, fastest at the larger number of rows first."""
    names = sorted(
        {row["name"] for row in found},
        key=lambda name: min(r["median_s"] for r in found if r["name"] == name),
    )
    heads = [f"{rows} rows, ms | times as fast" for rows in ROWS]
    lines = [f"| | {' | '.join(heads)} | error |", "|---" + "|---:" * (2 * len(ROWS) + 1) + "|"]
    for name in names:
        own = [row for row in found if row["name"] == name]
        cells = [f"{1e3 * row['median_s']:,.1f} | {row['times_as_fast']:.2f}×" for row in own]
        lines.append(f"| {name} | {' | '.join(cells)} | {max(row['error'] for row in own):.1e} |")
    return "\n".join(lines)


def run(given: argparse.Namespace, names: list[str]) -> None:
    """Start the contenders, measure, write."""
    began = time.monotonic()
    with started(__file__, names, given, REFERENCE) as (here, absent):
        found = measure(here, 1 if given.quick else given.rounds, given.budget)
    summarise(found)
    data = {
        "machine": dataclasses.asdict(Machine.here()), "threads": given.threads,
        "quick": given.quick, "versions": {one.name: one.started["version"] for one in here},
        "not_run": absent, "wall_s": time.monotonic() - began, "rows": found,
    }  # fmt: skip
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps(data, indent=1) + "\n")
    print(table(found))
    for name, reason in absent.items():
        print(f"not run: {name}: {reason}")


def main() -> None:
    """Make what is missing, measure, and write the numbers."""
    options = parser(__file__, __doc__, "build/latency/half-a-billion", 7)
    options.add_argument(
        "--budget",
        type=float,
        default=300,
        metavar="SECONDS",
        help="no further round begins after so many",
    )
    options.add_argument(
        "--contenders", metavar="NAME,...", help="these and the reference; by default all"
    )
    options.add_argument(
        "--quick",
        action="store_true",
        help="a small shape, one round: whether it works, no measurement",
    )
    given = options.parse_args()
    if given.worker:
        work(given.worker, given.folder, clock(given.threads))
        return
    asked = given.contenders.split(",") if given.contenders else list(CONTENDERS)
    if unknown := [name for name in asked if name not in CONTENDERS]:
        sys.exit(f"contender {unknown[0]!r}: expected some of {', '.join(CONTENDERS)}")
    names = [name for name in CONTENDERS if name in {REFERENCE, *asked}]
    if given.quick:
        given.folder /= "quick"  # apart, or a measurement would take the small shape for its own
    given.folder.mkdir(parents=True, exist_ok=True)
    prepare(given.folder, {CONTENDERS[name][1] for name in names}, given.quick)
    if not given.prepare:
        run(given, names)


if __name__ == "__main__":
    main()
