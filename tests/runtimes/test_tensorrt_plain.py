"""The form of a graph for TensorRT before 10.14: operators of opset 20 that compute the same, by
ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import read_onnx
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.runtimes.tensorrt.plain import write_out
from nextomni_edge.runtimes.tensorrt.qdq import qdq_form
from nextomni_edge.verify import replay

LATE = {"Attention", "RMSNormalization", "GroupNormalization"}
B, N, M, D = 2, 5, 7, 4


def graph(
    operator: str, given: dict[str, np.ndarray], sizes: list[int | str], **attributes: Any
) -> ir.Model:
    """A graph of one operator, whose sequences and batch are of free size."""
    free = {B: "batch", N: "rows", M: "attended"}
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype),
            [free.get(size, size) if array.ndim > 1 else size for size in array.shape],
        )
        for name, array in given.items()
    ]  # fmt: skip
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)
    node = helper.make_node(operator, list(given), ["y"], name="node", **attributes)
    made = helper.make_graph([node], "g", inputs, [output])
    opsets = [helper.make_opsetid("", 23)]
    return ir.from_proto(helper.make_model(made, opset_imports=opsets, ir_version=10))


def run(model: ir.Model, given: dict[str, np.ndarray]) -> np.ndarray:
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, given)[0]
    return found


def attention(heads: int, kv_heads: int, mask: str, rows: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(heads + rows)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    given = {
        "q": normal(B, heads, rows, D), "k": normal(B, kv_heads, M, D),
        "v": normal(B, kv_heads, M, D),
    }  # fmt: skip
    seen = rng.random((B, 1, rows, M)) < 0.6
    seen[..., 0] = True
    masks = {"bool": seen, "float": np.where(seen, 0, -1e4).astype(np.float32)}
    return given | ({"mask": masks[mask]} if mask in masks else {})


@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 6), (6, 3), (6, 1)])
def test_attention_is_the_same_by_plain_operators(heads: int, kv_heads: int, mask: str) -> None:
    given = attention(heads, kv_heads, mask)
    causal = {"is_causal": int(mask == "causal")}
    whole = graph("Attention", given, ["batch", heads, "rows", D], **causal)
    plain = whole.clone()
    write_out(plain, "backbone")
    assert {node.op_type for node in plain.graph}.isdisjoint(LATE)
    assert plain.opset_imports[""] == 20
    np.testing.assert_allclose(run(plain, given), run(whole, given), atol=2e-6)
    # other sizes than those of the graph's making
    fewer = attention(heads, kv_heads, mask, rows=3)
    np.testing.assert_allclose(run(plain, fewer), run(whole, fewer), atol=2e-6)


def test_a_row_that_sees_nothing_stays_finite() -> None:
    given = attention(6, 3, "bool")
    given["mask"][0, 0, 1] = False
    plain = graph("Attention", given, ["batch", 6, "rows", D])
    write_out(plain, "backbone")
    assert np.isfinite(run(plain, given)).all()


def test_attention_with_a_softcap_is_refused() -> None:
    whole = graph("Attention", attention(6, 3, "none"), ["batch", 6, "rows", D], softcap=5.0)
    with pytest.raises(InputError, match=r"^backbone: node: attention with a softcap, .* 10.14"):
        write_out(whole, "backbone")


@pytest.mark.parametrize("shape", [(B, 8, 6, 6), (B, 8, 9)], ids=["picture", "sound"])
def test_norms_are_the_same_by_plain_operators(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = 3 * rng.standard_normal(shape).astype(np.float32) + 1
    scale, bias = rng.standard_normal((2, 8)).astype(np.float32)
    last = rng.standard_normal(shape[-1:]).astype(np.float32)
    sizes: list[int | str] = ["batch", *shape[1:]]
    for operator, given, attributes in (
        ("RMSNormalization", {"x": x, "scale": last}, {"axis": -1, "epsilon": 1e-6}),
        (
            "GroupNormalization",
            {"x": x, "scale": scale, "bias": bias},
            {"num_groups": 4, "epsilon": 1e-6},
        ),
    ):
        whole = graph(operator, given, sizes, **attributes)
        plain = whole.clone()
        write_out(plain, "decoder")
        assert {node.op_type for node in plain.graph}.isdisjoint(LATE)
        np.testing.assert_allclose(run(plain, given), run(whole, given), atol=1e-5, rtol=1e-5)


def test_blocks_of_int4_keep_the_opset_that_has_them() -> None:
    rows = helper.make_tensor_value_info("rows", TensorProto.INT64, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32])
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1, block_size=16),
        helper.make_node("Gather", ["w", "rows"], ["y"], axis=0),
    ]
    stored = [
        numpy_helper.from_array(np.ones((4, 32), np.int8), "q"),
        numpy_helper.from_array(np.ones((4, 2), np.float32), "s"),
    ]
    made = helper.make_graph(nodes, "g", [rows], [y], stored)
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    model = ir.from_proto(proto)
    write_out(model, "text_embed")
    assert model.opset_imports[""] == 21


def test_a_bundle_written_out_replays_its_golden_trace(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(tiny_bundle)
    forms = {name: qdq_form(bundle, name, tmp_path, True) for name in bundle.manifest.components}
    for form in forms.values():
        written = read_onnx(form.read_bytes())
        assert {node.operator for node in written.nodes}.isdisjoint(LATE)
    monkeypatch.setattr(Bundle, "component_file", lambda self, name: forms[name])
    report = replay(bundle, Execution("onnx"), lambda task, share: None)
    report.require()
    assert len(report.tasks) >= 6 and report.near_ties == 0
