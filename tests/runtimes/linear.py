"""One matrix product as an ONNX graph, and its interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nextomni_edge.spec import Dim, GraphSpec, TensorSpec

BATCH = Dim("batch", 1, 4)
SPEC = GraphSpec(
    "text_head", (TensorSpec("hidden", "float32", (BATCH, 64)),),
    (TensorSpec("logits", "float32", (BATCH, 64)),)
)  # fmt: skip


def linear(folder: Path, scale: float = 1.0) -> Path:
    """A matrix product whose weight stands in a file of its own."""
    weight = (np.random.default_rng(0).standard_normal((64, 64)) * scale).astype(np.float32)
    (folder / "weight").write_bytes(weight.tobytes())
    tensor = numpy_helper.from_array(weight, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weight", "offset": "0", "length": str(weight.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64])
        for name in ("hidden", "logits")
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["hidden", "w"], ["logits"])], "g", ends[:1], ends[1:], [tensor]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10),
        folder / "text_head.onnx",
    )
    return folder / "text_head.onnx"
