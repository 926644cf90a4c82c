"""Why a quantised backbone gives other numbers in WebAssembly than on the CPU: `python
benchmarks/browser_integers.py INT8 INT4`, two bundles of `quantize` (int8-dynamic and int4-rtn).

The product of integers is compared with numpy's. Both bundles run the rows of the golden trace's
first picture. INT8: how many rounded inputs of each layer
differ, in WebAssembly, and on the CPU when the rows move by a last digit of float32. INT4: the CPU
at each accuracy of MatMulNBits (4 rounds what a layer reads to 8 bits, 0 does not). Needs node, and
onnxruntime-web in node_modules (`make test-web` installs it).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.verify import golden

SCRIPT = Path(__file__).with_suffix(".mjs")
LAST_DIGIT = 1.2e-7  # of a float32
SEEDS = 10
LEVELS = (0, 4)
Arrays = dict[str, np.ndarray[Any, Any]]


def rows_of(bundle: Bundle) -> Arrays:
    """What the backbone reads of the trace's picture, one sequence without guidance."""
    model = EdgeModel.from_bundle(bundle)
    task, _ = golden.read(bundle).tasks["text-to-image"]
    embeddings = model.sequence_embeddings([task.sequence])
    count, backbone = embeddings.shape[1], bundle.config.backbone
    kept = (backbone.layers, 1, backbone.kv_heads, 0, backbone.head_dim)
    return {
        "embeddings": embeddings, "positions": np.arange(count)[None],
        "attention_mask": np.ones((1, count), np.bool_),
        "past_keys": np.zeros(kept, np.float32), "past_values": np.zeros(kept, np.float32),
    }  # fmt: skip


def on_cpu(graph: Path, rows: Arrays) -> Arrays:
    """All outputs, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, rows), strict=True))


def in_browser(graph: Path, rows: Arrays, like: Arrays) -> Arrays:
    """The same of onnxruntime-web."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for wire, array in rows.items():
            (folder / wire).write_bytes(array.tobytes())
        shapes = {wire: [str(array.dtype), list(array.shape)] for wire, array in rows.items()}
        asked = {"graph": str(graph), "folder": name, "inputs": shapes, "outputs": list(like)}
        subprocess.run(["node", SCRIPT], input=json.dumps(asked), text=True, check=True)
        return {
            wire: np.frombuffer((folder / f"out{at}").read_bytes(), array.dtype).reshape(
                array.shape
            )
            for at, (wire, array) in enumerate(like.items())
        }


def apart(one: Arrays, other: Arrays) -> float:
    """The largest difference of hidden states, of their scale."""
    difference = np.abs(one["hidden"] - other["hidden"]).max()
    return float(difference / np.abs(other["hidden"]).max())


def flips(one: Arrays, other: Arrays, taps: list[str]) -> list[int]:
    """By layer, how many rounded inputs differ."""
    return [int((one[name] != other[name]).sum()) for name in taps]


def of_products(folder: Path) -> dict[str, int]:
    """The largest error of MatMulInteger over the whole range of its inputs, in WebAssembly: a
    product that saturates would be wrong by thousands."""
    generator = np.random.default_rng(0)
    weight = generator.integers(-128, 128, (192, 64)).astype(np.int8)
    given = generator.integers(0, 256, (8, 192)).astype(np.uint8)
    make, kind = onnx.helper, onnx.TensorProto
    node = make.make_node("MatMulInteger", ["given", "weight", "middle"], ["hidden"])
    constants = {"weight": weight, "middle": np.array(128, np.uint8)}
    graph = make.make_graph(
        [node], "product",
        [make.make_tensor_value_info("given", kind.UINT8, given.shape)],
        [make.make_tensor_value_info("hidden", kind.INT32, (8, 64))],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opset = make.make_opsetid("", 21)
    onnx.save(make.make_model(graph, opset_imports=[opset], ir_version=10), folder / "one.onnx")
    expected = (given.astype(np.int32) - 128) @ weight.astype(np.int32)
    rows = {"given": given}
    found = in_browser(folder / "one.onnx", rows, {"hidden": expected})["hidden"]
    return {"largest_error": int(np.abs(found - expected).max()), "products": int(expected.size)}


def of_int8(bundle: Bundle, folder: Path) -> dict[str, Any]:
    model = onnx.load(bundle.path / "backbone.onnx")
    taps = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for name in taps:
        kind = onnx.TensorProto.UINT8
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    onnx.save(model, folder / "int8.onnx")
    rows = rows_of(bundle)
    own = on_cpu(folder / "int8.onnx", rows)
    browser = in_browser(folder / "int8.onnx", rows, own)
    moved = []
    for seed in range(SEEDS):
        by = np.random.default_rng(seed).uniform(-1, 1, rows["embeddings"].shape) * LAST_DIGIT
        near = rows | {"embeddings": (rows["embeddings"] * (1 + by)).astype(np.float32)}
        found = on_cpu(folder / "int8.onnx", near)
        moved.append({"hidden": apart(found, own), "flips": flips(found, own, taps)})
    return {
        "rows": rows["embeddings"].shape[1], "rounded_inputs": [own[name].size for name in taps],
        "browser": {"hidden": apart(browser, own), "flips": flips(browser, own, taps)},
        "cpu_moved_by_a_last_digit": moved,
    }  # fmt: skip


def of_int4(bundle: Bundle, folder: Path) -> dict[str, Any]:
    rows, found = rows_of(bundle), dict[int, Arrays]()
    for level in LEVELS:
        model = onnx.load(bundle.path / "backbone.onnx")
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "accuracy_level":
                    attribute.i = level
        onnx.save(model, folder / f"{level}.onnx")
        found[level] = on_cpu(folder / f"{level}.onnx", rows)
    browser = in_browser(folder / "4.onnx", rows, found[4])
    return {
        f"browser_and_cpu_at_accuracy_{level}": apart(browser, found[level]) for level in LEVELS
    }


def main() -> None:
    int8, int4 = (Bundle.open(Path(name)) for name in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = {
            "products": of_products(folder), "int8": of_int8(int8, folder),
            "int4": of_int4(int4, folder),
        }  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
    print(json.dumps(data["int8"]["browser"] | data["int4"]))


if __name__ == "__main__":
    main()
