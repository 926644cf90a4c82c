"""The form of a quantised graph that TensorRT reads: the same numbers by ONNX's own operators, or a
refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.quantised import dequantise, read_parts, stored_layers
from nextomni_edge.calibration.recipes.calibrated import balanced
from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import read_onnx
from nextomni_edge.runtimes.tensorrt.qdq import qdq_form, rewrite

Quantised = Callable[[str], Bundle]


@pytest.fixture
def quantised(variant: Callable[[str], Path]) -> Quantised:
    return lambda name: Bundle.open(variant(name))


def weight_of(bundle: Bundle, component: str) -> np.ndarray:
    """The one quantised weight of a component, dequantised, (rows, columns)."""
    ((name, decision),) = bundle.manifest.components[component].quantisation.items()
    parts = read_parts(bundle.path, stored_layers(bundle.component_file(component))[name])
    return dequantise(
        decision, parts, (bundle.config.text.vocabulary_size, bundle.config.backbone.hidden_size)
    )


def run(graph: bytes | Path, **given: np.ndarray) -> np.ndarray:
    model = graph if isinstance(graph, bytes) else str(graph)
    found: np.ndarray = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
        None, given
    )[0]
    return found


def test_a_head_of_blocks_is_the_product_with_the_dequantised_weight(
    quantised: Quantised, tmp_path: Path
) -> None:
    bundle = quantised("int4")
    hidden = (
        np.random.default_rng(2)
        .standard_normal((2, 3, bundle.config.backbone.hidden_size))
        .astype(np.float32)
    )
    found = run(qdq_form(bundle, "text_head", tmp_path), hidden=hidden)
    np.testing.assert_allclose(found, hidden @ weight_of(bundle, "text_head").T, atol=1e-4)


def test_a_table_of_blocks_gives_its_dequantised_rows(quantised: Quantised, tmp_path: Path) -> None:
    bundle = quantised("int4")
    tokens = np.arange(12).reshape(3, 4)
    found = run(qdq_form(bundle, "embed_text", tmp_path), tokens=tokens)
    np.testing.assert_allclose(found, weight_of(bundle, "embed_text")[tokens], atol=1e-6)


def test_every_component_of_blocks_has_a_form_of_onnxs_own_operators(
    quantised: Quantised, tmp_path: Path
) -> None:
    bundle = quantised("int4")
    for component in bundle.manifest.components:
        graph = read_onnx(qdq_form(bundle, component, tmp_path).read_bytes())
        assert {node.domain for node in graph.nodes} <= {"", "ai.onnx"}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            "int8",
            r"^backbone: activations rounded while the graph runs \(MatMulInteger\).*int8-static",
        ),
        (
            "int4-asymmetric",
            (
                r"^backbone: blocks with zero points have no form that TensorRT reads; quantise"
                r" symmetrically"
            ),
        ),
    ],
)
def test_what_has_no_form_is_refused_with_what_to_do(
    quantised: Quantised, tmp_path: Path, config: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        qdq_form(quantised(config), "backbone", tmp_path)


def static_graph(zero: int) -> ir.Model:
    """y = x rounded to uint8 around `zero`, and back."""
    constants = [
        numpy_helper.from_array(np.array(0.05, np.float32), "scale"),
        numpy_helper.from_array(np.array(zero, np.uint8), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy"]
    graph = helper.make_graph(nodes, "static", ends[:1], ends[1:], constants)
    return ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    )


def content(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString()


def test_a_symmetric_activation_becomes_int8_around_zero_without_a_change(tmp_path: Path) -> None:
    x = np.linspace(-9, 9, 1001, dtype=np.float32)
    before, model = run(content(static_graph(128)), x=x), static_graph(128)
    rewrite(model, "backbone", tmp_path)
    assert {value.dtype for value in model.graph.initializers.values()} >= {ir.DataType.INT8}
    np.testing.assert_array_equal(run(content(model), x=x), before)


def test_an_activation_around_another_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"^backbone: ranges of activations that are not symmetric .*\"symmetric\": true",
    ):
        rewrite(static_graph(100), "backbone", tmp_path)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (-4.0, 0.5), (0.0, 2.0)])
def test_a_balanced_range_reaches_both_ends_around_128(low: float, high: float) -> None:
    scale, zero = balanced(low, high)
    assert zero == 128 and scale * 127 == pytest.approx(max(-low, high))
