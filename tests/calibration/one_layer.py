"""One layer in a graph of its own, with its weight in a file, for each operator that the quantiser
knows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nextomni_edge.calibration.layers import CONTRACTION, Layer, Operator, layers

Float = NDArray[np.float32]

SHAPES: dict[Operator, tuple[int, ...]] = {
    "matmul": (96, 40), "linear": (40, 96), "gather": (50, 96), "conv": (6, 4, 3, 3),
    "einsum": (3, 96, 10),
}  # fmt: skip


def values(operator: Operator, seed: int = 0) -> Float:
    """Weights with an outlier in the first column of each."""
    found = np.random.default_rng(seed).standard_normal(SHAPES[operator], np.float32) * np.float32(
        0.05
    )
    found[..., 0] *= 8
    return found


def inputs(operator: Operator, seed: int = 1) -> NDArray[np.float32] | NDArray[np.int64]:
    generator = np.random.default_rng(seed)
    if operator == "gather":
        return generator.integers(0, 50, (2, 5))
    shape = {
        "matmul": (2, 7, 96),
        "linear": (2, 7, 96),
        "conv": (2, 4, 5, 5),
        "einsum": (7, 3, 96),
    }[operator]
    return generator.standard_normal(shape, np.float32)


def graph(
    folder: Path, operator: Operator, weight: Float, half: bool = False
) -> tuple[ir.Model, Layer]:
    """The graph `y = operator(x, weight)`, and its layer; `half`: the weight is stored as float16
    and cast in the graph."""
    data = weight.astype(np.float16 if half else np.float32).tobytes()
    dtype = ir.DataType.FLOAT16 if half else ir.DataType.FLOAT
    location = f"weights/{hashlib.sha256(data).hexdigest()}"
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    (folder / location).write_bytes(data)
    tensor = ir.ExternalTensor(
        location, 0, len(data), dtype, shape=ir.Shape(weight.shape), name="weight", base_dir=folder
    )  # fmt: skip
    value = ir.Value(
        name="weight", shape=ir.Shape(weight.shape), type=ir.TensorType(dtype), const_value=tensor
    )
    read = ir.DataType.INT64 if operator == "gather" else ir.DataType.FLOAT
    x = ir.Value(name="x", shape=ir.Shape([None] * inputs(operator).ndim), type=ir.TensorType(read))
    nodes = _cast(operator, x, value) if half else _nodes(operator, x, value)
    y = nodes[-1].outputs[0]
    y.name, y.type = "y", ir.TensorType(ir.DataType.FLOAT)
    y.shape = ir.Shape([None] * (4 if operator == "conv" else 3))
    made = ir.Graph(
        [x], [y], nodes=nodes, initializers=[value], opset_imports={"": 23}, name=operator
    )
    model = ir.Model(made, ir_version=11)
    (layer,) = layers("backbone", model)
    return model, layer


def _cast(operator: Operator, x: ir.Value, weight: ir.Value) -> list[ir.Node]:
    cast = ir.node("Cast", [weight], {"to": int(ir.DataType.FLOAT)})
    cast.outputs[0].name = "weight.float32"
    return [cast, *_nodes(operator, x, cast.outputs[0])]


def _nodes(operator: Operator, x: ir.Value, weight: ir.Value) -> list[ir.Node]:
    if operator == "linear":
        transposed = ir.node("Transpose", [weight], {"perm": [1, 0]})
        transposed.outputs[0].name = "transposed"
        return [transposed, ir.node("MatMul", [x, transposed.outputs[0]])]
    if operator == "gather":
        return [ir.node("Gather", [weight, x], {"axis": 0})]
    attributes = {
        "matmul": {},
        "conv": {"pads": [1, 1, 1, 1]},
        "einsum": {"equation": CONTRACTION},
    }[operator]
    name = {"matmul": "MatMul", "conv": "Conv", "einsum": "Einsum"}[operator]
    return [ir.node(name, [x, weight], attributes)]
