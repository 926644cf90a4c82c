"""Whether a text head cut along the vocabulary pays: `python benchmarks/chunked_head.py [-o FILE]`,
a line for each case and JSON.

whole: as the loop does it, blocks of rows whose logits stay within LOGITS_AT_ONCE, looked through
for NaN, and the argmax in numpy. product: the matrix products of that alone, the least that any
head costs. cut: one graph that takes the argmax of each part of the vocabulary and then of the
parts, so that no more than a part's logits is ever there. All on ONNX Runtime with one thread; the
ids must be the same. Milliseconds of processor time, medians, interleaved: other processes may
share the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from nextomni_edge.files import atomic_write
from nextomni_edge.generate.draw import LOGITS_AT_ONCE

CASES = ((691, 256, "the demo"), (151_936, 896, "Qwen2.5-0.5B"))  # V, H
ROWS, PARTS = (16, 64, 256), (4, 16, 64)


def session(
    nodes: list[Any], weights: dict[str, Any], outputs: list[Any], hidden: int
) -> onnxruntime.InferenceSession:
    """A graph of hidden (R,H) float32, its weights beside it on disk while it is loaded."""
    inputs = [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["rows", hidden])]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "head", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "head.onnx")
        onnx.save(model, file, save_as_external_data=True, location="weights")
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def whole(weight: Any) -> onnxruntime.InferenceSession:
    """Logits (R,V)."""
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", weight.shape[1]])
    return session(
        [helper.make_node("MatMul", ["hidden", "w"], ["logits"])],
        {"w": weight},
        [logits],
        len(weight),
    )


def cut(weight: Any, parts: int) -> onnxruntime.InferenceSession:
    """The argmax (R,1) by parts of the vocabulary."""
    nodes, weights = [], {"axis": np.array([1])}
    for i, columns in enumerate(np.array_split(np.arange(weight.shape[1]), parts)):
        weights |= {f"w{i}": np.ascontiguousarray(weight[:, columns]), f"first{i}": columns[:1]}
        nodes += [
            helper.make_node("MatMul", ["hidden", f"w{i}"], [f"logits{i}"]),
            helper.make_node("ReduceMax", [f"logits{i}", "axis"], [f"max{i}"], keepdims=1),
            helper.make_node("ArgMax", [f"logits{i}"], [f"place{i}"], axis=1, keepdims=1),
            helper.make_node("Add", [f"place{i}", f"first{i}"], [f"id{i}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"max{i}" for i in range(parts)], ["max"], axis=1),
        helper.make_node("Concat", [f"id{i}" for i in range(parts)], ["ids"], axis=1),
        helper.make_node("ArgMax", ["max"], ["part"], axis=1, keepdims=1),
        helper.make_node("GatherElements", ["ids", "part"], ["id"], axis=1),
    ]
    return session(
        nodes,
        weights,
        [helper.make_tensor_value_info("id", TensorProto.INT64, ["rows", 1])],
        len(weight),
    )


def ways(weight: Any) -> dict[str, Callable[[Any], Any]]:
    """By name: hidden (R,H) → ids (R,), or nothing from the product alone."""
    full, block = whole(weight), max(1, LOGITS_AT_ONCE // weight.shape[1])

    def logits(hidden: Any) -> Iterator[Any]:
        for start in range(0, len(hidden), block):
            yield full.run(None, {"hidden": hidden[start : start + block]})[0]

    def product(hidden: Any) -> None:
        for _ in logits(hidden):
            pass

    def present(hidden: Any) -> Any:
        found = []
        for one in logits(hidden):
            if not np.isfinite(one).all():
                raise SystemExit("a logit is not finite")
            found.append(one.argmax(axis=1))
        return np.concatenate(found)

    def parted(graph: onnxruntime.InferenceSession) -> Callable[[Any], Any]:
        return lambda hidden: graph.run(None, {"hidden": hidden})[0][:, 0]

    return {"whole": present, "product": product} | {
        f"cut in {n}": parted(cut(weight, n)) for n in PARTS
    }


def timed(weight: Any, repeats: int) -> dict[int, dict[str, float]]:
    """Milliseconds by number of rows and way. SystemExit: the ids differ."""
    rng, found, heads = np.random.default_rng(1), dict[int, dict[str, float]](), ways(weight)
    for rows in ROWS:
        hidden, times = (
            rng.standard_normal((rows, len(weight)), np.float32),
            {name: list[float]() for name in heads},
        )
        expected = heads["whole"](hidden)
        for name, head in heads.items():
            if name != "product" and not (head(hidden) == expected).all():
                raise SystemExit(f"{name} gives other ids")
        for _ in range(repeats):
            for name, head in heads.items():
                began = time.process_time()
                head(hidden)
                times[name].append(1e3 * (time.process_time() - began))
        found[rows] = {name: statistics.median(values) for name, values in times.items()}
    return found


def main() -> None:
    """Measure every case and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    results, rng = {}, np.random.default_rng(0)
    for vocabulary, hidden, name in CASES:
        weight = rng.standard_normal((hidden, vocabulary), np.float32) * np.float32(hidden**-0.5)
        results[name] = {
            "V": vocabulary,
            "H": hidden,
            "milliseconds": timed(weight, arguments.repeats),
        }
        for rows, times in results[name]["milliseconds"].items():
            print(
                f"{name}, {rows} rows: "
                + ", ".join(f"{way} {ms:.2f} ms" for way, ms in times.items()),
                flush=True,
            )
    with atomic_write(arguments.out, "w") as file:
        file.write(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
