"""Layers of the 7 B shape against llama.cpp at the same bits: `python benchmarks/peer_7b.py
[--layers 4] [--folder DIR] [-o FILE]`.

Embeddings in, hidden states out, every row attends to all: 64, 256 and 576 rows of Qwen2.5-7B's
backbone (3,584 wide, 28 query and 4 key heads, MLP 18,944) with random weights. Four of its 28
layers are the default: all layers are alike, and every runtime's bundles fit next to one another.
The time of a layer is a forward's time divided by the layers. Each contender is a process of its
own that loads once; they take turns, and medians are taken. With `--threads 1` the seconds are
those of the processor, which other programs disturb less. A run replaces the one with the same
threads, layers and rows in the file.

llama.cpp runs as our runtime runs it (float32 keys and values, no flash attention), and with flash
attention and float16 keys and values. In both a forward is one piece (`n_ubatch`), and the library
packs the weights for the processor, AMX included, if it was compiled with that.

The roofline is what a large product of integers (MatMulInteger) and of float32 reaches in ONNX
Runtime, before and after the rounds. `--quick` tries the script on a small shape.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import latency
import numpy as np
import runtime_speed
from contenders import Contender, answer_all, clock, parser, started

from nextomni_edge.files import atomic_write
from nextomni_edge.runtimes.machine import Machine

ROWS: Final = (64, 256, 576)
SHAPE: Final = {
    "hidden_size": 3584, "query_heads": 28, "kv_heads": 4, "mlp_size": 18944,
    "max_positions": 1024,
}  # fmt: skip
REFERENCE: Final = "ONNX Runtime float32"
PARENT: Final = "float16"
BLOCKS: Final = (32, 128)
# name: (bits of the weights, runtime, what it loads of the folder, how)
CONTENDERS: Final[dict[str, tuple[int, str, str, str]]] = {
    REFERENCE: (16, "onnx", PARENT, ""),
    "ONNX Runtime INT4": (4, "onnx", "int4-32", ""),
    "ONNX Runtime INT4, float32 products": (4, "onnx", "int4-32-level0", ""),
    "ONNX Runtime INT4, blocks of 128": (4, "onnx", "int4-128", ""),
    "OpenVINO INT4": (4, "openvino", "int4-32", ""),
    "OpenVINO INT4, blocks of 128": (4, "openvino", "int4-128", ""),
    "OpenVINO INT4, bfloat16": (4, "openvino", "int4-32", "bfloat16"),
    "llama.cpp Q4_0": (4, "llamacpp", "q4_0", ""),
    "llama.cpp Q4_0, flash attention": (4, "llamacpp", "q4_0", "flash"),
    "ONNX Runtime INT8 static": (8, "onnx", "int8-static", ""),
    "ONNX Runtime INT8 dynamic": (8, "onnx", "int8-dynamic", ""),
    "OpenVINO INT8 static": (8, "openvino", "int8-static", ""),
    "llama.cpp Q8_0": (8, "llamacpp", "q8_0", ""),
    "llama.cpp Q8_0, flash attention": (8, "llamacpp", "q8_0", "flash"),
}
FLASH_ATTENTION, GGML_F16 = 1, 1  # llama.cpp's numbers


def settings(layers: int, quick: bool) -> dict[str, Any]:
    """The 7 B layers with small tables, heads and codecs, which are not timed."""
    backbone = SHAPE | {"layers": layers}
    return latency.settings() | {"backbone": runtime_speed.QUICK if quick else backbone}


def prepare(folder: Path, wanted: set[str], layers: int, quick: bool) -> None:
    """Make the bundles that are not there yet, without the whole model in memory."""
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.recipes.config import Int4, recipe
    from nextomni_edge.config import ModelConfig
    from nextomni_edge.export import export_bundle
    from nextomni_edge.models.generated import GeneratedCheckpoint
    from nextomni_edge.tokens.train import train_tokenizer

    tokenizer = folder / "tokenizer" / "tokenizer.json"
    tokenizer.parent.mkdir(parents=True, exist_ok=True)
    train_tokenizer(["what is this?"], 320, tokenizer)
    model = GeneratedCheckpoint(ModelConfig.from_json(settings(layers, quick)), tokenizer)
    parent = folder / PARENT
    if not parent.exists():
        export_bundle(model, parent, latency.COMPONENTS, precision="float16", verify="none")
    for block in BLOCKS:
        if not (folder / f"int4-{block}").exists():
            quantize(parent, folder / f"int4-{block}", Int4(block_size=block))
    if "int4-32-level0" in wanted:
        _float_products(folder / "int4-32", folder / "int4-32-level0")
    if "int8-dynamic" in wanted and not (folder / "int8-dynamic").exists():
        quantize(parent, folder / "int8-dynamic", recipe("int8-dynamic"))
    if "int8-static" in wanted and not (folder / "int8-static").exists():
        quantize(parent, folder / "int8-static", recipe("int8-static"), _calibration(folder))
    for name in runtime_speed.GGUF:
        if name in wanted and not (folder / name).exists():
            export_bundle(
                model, folder / name, ("backbone",), target="gguf", precision=name, verify="none"
            )


def _calibration(folder: Path) -> Path:
    """Ranges of random trajectories: they change no time."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.calibration.data.collect import Random, collect
    from nextomni_edge.generate.model import EdgeModel

    found = folder / "calibration"
    if not found.exists():
        bundle = Bundle.open(folder / PARENT)
        random = Random(EdgeModel.from_bundle(bundle), bundle.manifest.components, 1)
        collect(bundle, random, found, bins=4)
    return found


def _float_products(bundle: Path, out: Path) -> None:
    """The bundle with MatMulNBits at accuracy level 0: inputs stay float32."""
    import onnx

    if out.exists():
        return
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(bundle, part, copy_function=os.link)
    graph = onnx.load(bundle / "backbone.onnx", load_external_data=False)
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 0
    (part / "backbone.onnx").unlink()
    onnx.save(graph, part / "backbone.onnx")
    part.rename(out)


def work(name: str, folder: Path, threads: int) -> None:
    """A contender's process."""
    _, runtime_name, entry, how = CONTENDERS[name]

    def load() -> Any:
        if how == "flash":
            from nextomni_edge.runtimes import llamacpp

            vars(llamacpp).update(_NO_FLASH_ATTENTION=FLASH_ATTENTION, _GGML_F32=GGML_F16)
        compute = how if how == "bfloat16" else "float32"
        now = clock(threads)
        step = runtime_speed.of_runtime(runtime_name, folder / entry, compute, now=now)

        def respond(asked: dict[str, Any]) -> float:
            seconds, hidden = step(asked["rows"])
            if "file" in asked:
                np.save(asked["file"], hidden)
            return seconds

        return respond

    library = runtime_speed.LIBRARIES.get(runtime_name, runtime_name)
    answer_all(load, lambda: metadata.version(library))


def roofline(threads: int, quick: bool) -> dict[str, float]:
    """Operations a second of products of (576, 3584) with (3584, 18944): the best of some."""
    import onnxruntime

    from nextomni_edge.formats.onnx_write import one_node

    rows, inside, outside = (ROWS[-1], 256, 256) if quick else (ROWS[-1], 3584, 18944)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    generator, found, now = np.random.default_rng(0), {}, clock(threads)
    for name, operator, given, made in (
        ("float32", "MatMul", "float32", "float32"),
        ("int8", "MatMulInteger", "uint8", "int32"),
    ):
        weight = generator.integers(-127, 128, (inside, outside), np.int8)
        constant = weight.astype(np.float32) if given == "float32" else weight
        ends = {"a": (given, (rows, inside))}, ("y", (made, (rows, outside)))
        graph = one_node(operator, *ends, {"b": constant})
        session = onnxruntime.InferenceSession(graph, options)
        a = generator.integers(0, 256, (rows, inside)).astype(given)
        seconds = []
        for _ in range(6):
            began = now()
            session.run(None, {"a": a})
            seconds.append(now() - began)
        found[name] = 2.0 * rows * inside * outside / min(seconds)
    return found


def operations(layers: int, rows: int) -> float:
    """Of a forward: the products with the weights, and attention's two."""
    width, kept = SHAPE["hidden_size"], SHAPE["hidden_size"] * SHAPE["kv_heads"] // 28
    weights = 2 * width * width + 2 * width * kept + 3 * width * SHAPE["mlp_size"]
    return layers * (2.0 * rows * weights + 4.0 * width * rows * rows)


def summarise(found: list[dict[str, Any]], layers: int, ceilings: list[dict[str, float]]) -> None:
    """Give each row its median, its time a layer, its error, its share of the rooflines and its
    speed against the faster llama.cpp of the same bits."""
    runtime_speed.summarise(found, REFERENCE)
    best = {name: max(each[name] for each in ceilings) for name in ceilings[0]}
    for row in found:
        row["bits"] = CONTENDERS[row["name"]][0]
        row["layer_s"] = row["median_s"] / layers
        rate = operations(layers, row["rows"]) / row["median_s"]
        row["of_roofline"] = {name: rate / ceiling for name, ceiling in best.items()}
    for row in found:
        peers = [
            other["seconds"] for other in found
            if (other["bits"], other["rows"]) == (row["bits"], row["rows"])
            and other["name"].startswith("llama.cpp")
        ]  # fmt: skip
        # round by round, as other programs slow down all that runs at the time
        best_peer = [min(seconds) for seconds in zip(*peers, strict=True)]
        ratios = [peer / own for peer, own in zip(best_peer, row["seconds"], strict=False)]
        row["against_llamacpp"] = statistics.median(ratios) if ratios else None


def table(data: dict[str, Any]) -> str:
    """Markdown, a line for each contender."""
    sizes = sorted({row["rows"] for row in data["rows"]})
    heads = " | ".join(f"{rows} rows, ms a layer | against llama.cpp" for rows in sizes)
    lines = [
        f"| | {heads} | of INT8 / float32 roofline | error | load, s | memory, GB |",
        "|---" + "|---:" * (2 * len(sizes) + 4) + "|",
    ]
    for name in data["memory"]:
        own = [row for row in data["rows"] if row["name"] == name]
        cells = []
        for row in own:
            ratio = row["against_llamacpp"]
            cells.append(f"{1e3 * row['layer_s']:,.1f} | {f'{ratio:.2f}×' if ratio else ''}")
        share = own[-1]["of_roofline"]
        cells.append(f"{share['int8']:.0%} / {share['float32']:.0%}")
        cells.append(f"{max(row['error'] for row in own):.1e}")
        cells.append(f"{data['load_s'][name]:.1f}")
        cells.append(f"{data['memory'][name].get('resident', 0) / 1e9:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(data: dict[str, Any]) -> str:
    """Every kept run, each with what it was measured on."""
    parts = []
    for run in data["runs"].values():
        clock_of = "seconds of the processor" if run["threads"] == 1 else "seconds of the wall"
        loads = sorted((run["load_before"], run["load_after"]))
        rates = {name: max(each[name] for each in run["rooflines"]) for name in ("int8", "float32")}
        rounds = min(len(row["seconds"]) for row in run["rows"])
        parts.append(
            f"{run['machine']['processor']}, threads: {run['threads']}, layers: {run['layers']}."
            f" Medians of {rounds} rounds in {clock_of}; the system's load was {loads[0]:.1f} to"
            f" {loads[1]:.1f}. A large product reached {rates['int8'] / 1e9:,.0f} G operations a"
            f" second in INT8 and {rates['float32'] / 1e9:,.0f} G in float32.\n\n{table(run)}"
        )
    return "\n\n".join(parts)


def run(given: argparse.Namespace, names: list[str]) -> None:
    """Start the contenders, measure, write."""
    began, load = time.monotonic(), os.getloadavg()[0]
    ceilings = [roofline(given.threads, given.quick)]
    with started(__file__, names, given, REFERENCE) as (here, absent):
        rounds = 1 if given.quick else given.rounds
        found = runtime_speed.measure(here, rounds, given.budget, given.rows)
        memory = {one.name: one.memory() for one in here}
        said: list[Contender] = here
    ceilings.append(roofline(given.threads, given.quick))
    summarise(found, given.layers, ceilings)
    data = {
        "machine": dataclasses.asdict(Machine.here()), "threads": given.threads,
        "layers": given.layers, "quick": given.quick, "load_before": load,
        "load_after": os.getloadavg()[0], "rooflines": ceilings,
        "versions": {one.name: one.started["version"] for one in said},
        "load_s": {one.name: one.started["load_s"] for one in said},
        "memory": memory, "not_run": absent, "wall_s": time.monotonic() - began, "rows": found,
    }  # fmt: skip
    kept = json.loads(given.out.read_text()).get("runs", {}) if given.out.exists() else {}
    sizes = ", ".join(map(str, given.rows))
    name = f"{given.threads} threads, {given.layers} layers, rows {sizes}"
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps({"runs": kept | {name: data}}, indent=1) + "\n")
    print(table(data))
    for name, reason in absent.items():
        print(f"not run: {name}: {reason}")


def main() -> None:
    """Make what is missing, measure, and write the numbers."""
    options = parser(__file__, __doc__, "build/peer-7b", 7)
    options.add_argument("--layers", type=int, default=4, help="of the 28")
    options.add_argument("--budget", type=float, default=420, metavar="SECONDS")
    options.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    options.add_argument("--contenders", metavar="NAME;...", help="these and the reference")
    options.add_argument("--quick", action="store_true", help="a small shape: no measurement")
    given = options.parse_args()
    if given.worker:
        work(given.worker, given.folder, given.threads)
        return
    asked = given.contenders.split(";") if given.contenders else list(CONTENDERS)
    if unknown := [name for name in asked if name not in CONTENDERS]:
        sys.exit(f"contender {unknown[0]!r}: expected some of {', '.join(CONTENDERS)}")
    names = [name for name in CONTENDERS if name in {REFERENCE, *asked}]
    given.folder /= "quick" if given.quick else f"layers-{given.layers}"
    given.layers = runtime_speed.QUICK["layers"] if given.quick else given.layers
    prepare(given.folder, {CONTENDERS[name][2] for name in names}, given.layers, given.quick)
    if not given.prepare:
        run(given, names)


if __name__ == "__main__":
    main()
