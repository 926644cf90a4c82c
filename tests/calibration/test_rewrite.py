"""A layer that was rewritten computes, in ONNX Runtime, what its stored integers and the rounding
formulas say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.quantised import dequantise, read_parts, stored_layers
from nextomni_edge.calibration.layers import CONTRACTION, Operator, weight_of
from nextomni_edge.calibration.recipes.apply import quantise_weight
from nextomni_edge.calibration.recipes.config import Int4, Int8Dynamic, QuantConfig
from nextomni_edge.calibration.recipes.handlers import decide
from nextomni_edge.calibration.rewrite import Rewriter, read_back
from nextomni_edge.calibration.workspace import Workspace
from nextomni_edge.verify.fake_quantised import (
    round_blocks,
    round_float8,
    round_static,
    round_tensor,
    round_tokens,
)
from tests.calibration import one_layer

CONFIGS: dict[str, QuantConfig] = {
    "int8 per token": Int8Dynamic(), "int8 per tensor": Int8Dynamic("tensor"),
    "int4 blocks of 32": Int4(), "int4 blocks of 64": Int4(block_size=64),
    "int4 blocks of 128": Int4(block_size=128), "int4 asymmetric": Int4(symmetric=False),
}  # fmt: skip


def rewritten(
    folder: Path, operator: Operator, decision: Decision, half: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(what the runtime computes, Ŵ as the model has it) of a layer quantised by a decision."""
    model, layer = one_layer.graph(folder, operator, one_layer.values(operator), half)
    workspace = Workspace(folder / "out", {}, resume=False)
    entry = workspace.store(layer.name, *quantise_weight(weight_of(model, layer), decision))
    for part in entry.parts.values():
        (folder / part.file).write_bytes(workspace.file(part).read_bytes())
    Rewriter(model, folder).replace(layer, entry.decision, entry.parts)
    ir.save(model, folder / "graph.onnx")
    read_back(folder / "graph.onnx", {"weight": entry.decision})
    session = onnxruntime.InferenceSession(folder / "graph.onnx")
    (found,) = session.run(["y"], {"x": one_layer.inputs(operator)})
    parts = read_parts(folder, stored_layers(folder / "graph.onnx")["weight"])
    return found, dequantise(entry.decision, parts, layer.model_shape)


def expected(
    operator: Operator, decision: Decision, weight: NDArray[np.float32]
) -> NDArray[np.float64]:
    x, w = one_layer.inputs(operator), weight.astype(np.float64)
    if operator == "gather":
        return w[x]
    if operator == "einsum":
        return np.einsum(CONTRACTION, x, w)
    if decision.scheme == "stored":
        return x @ w.T
    rounded = {
        "per_token": round_tokens, "per_tensor": round_tensor,
        "blocks": lambda x: round_blocks(x, decision.block_size or 0),
        "static": lambda x: round_static(x, *(decision.activation or (1.0, 0.0))),
        "float8": lambda x: round_float8(x, (decision.activation or (1.0,))[0]),
    }[decision.scheme](x)  # fmt: skip
    return rounded.astype(np.float64) @ w.T


@pytest.mark.parametrize("operator", ["matmul", "linear", "gather", "einsum"])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_runtime_computes_what_the_formulas_say(
    name: str, operator: Operator, tmp_path: Path
) -> None:
    _, layer = one_layer.graph(tmp_path / "plain", operator, one_layer.values(operator))
    decision = decide(CONFIGS[name], layer)
    assert decision is not None
    found, weight = rewritten(tmp_path, operator, decision)
    meant = expected(operator, decision, weight)
    assert found.shape == meant.shape
    assert np.abs(found - meant).max() <= 1e-5 * max(1.0, np.abs(meant).max())


@pytest.mark.parametrize("operator", ["matmul", "linear", "gather"])
def test_a_weight_stored_as_float16_is_quantised_from_what_it_holds(
    operator: Operator, tmp_path: Path
) -> None:
    decision = Decision("blocks", operator, 4, block_size=32)
    found, weight = rewritten(tmp_path, operator, decision, half=True)
    meant = expected(operator, decision, weight)
    assert np.abs(found - meant).max() <= 1e-5 * max(1.0, np.abs(meant).max())


@pytest.mark.parametrize("operator", ["matmul", "linear"])
def test_static_ranges_float8_and_weights_alone(operator: Operator, tmp_path: Path) -> None:
    for decision in (
        Decision("static", operator, 8, activation=(4.0 / 127, 131.0)),
        Decision("float8", operator, 8, activation=(2.5 / 448, 0.0)),  # some inputs lie outside
        Decision("stored", operator, 8),
    ):
        found, weight = rewritten(tmp_path / decision.scheme, operator, decision)
        meant = expected(operator, decision, weight)
        assert np.abs(found - meant).max() <= 1e-5 * np.abs(meant).max()


def test_a_convolution_keeps_its_weight_in_8_bits(tmp_path: Path) -> None:
    found, weight = rewritten(tmp_path, "conv", Decision("stored", "conv", 8))
    plain, _ = one_layer.graph(tmp_path / "plain", "conv", weight)
    ir.save(plain, tmp_path / "plain" / "graph.onnx")
    (meant,) = onnxruntime.InferenceSession(tmp_path / "plain" / "graph.onnx").run(
        ["y"], {"x": one_layer.inputs("conv")}
    )
    assert np.abs(found - meant).max() <= 1e-5 * np.abs(meant).max()


def test_a_static_convolution_reads_and_gives_rounded_values_and_is_one_node_of_integers(
    tmp_path: Path,
) -> None:
    decision = Decision(
        "static", "conv", 8, activation=(6.0 / 255, 120.0), output=(5.0 / 255, 131.0)
    )
    found, weight = rewritten(tmp_path, "conv", decision)
    plain, _ = one_layer.graph(tmp_path / "plain", "conv", weight)
    ir.save(plain, tmp_path / "plain" / "graph.onnx")
    rounded = round_static(one_layer.inputs("conv"), *(decision.activation or ()))  # type: ignore[arg-type]
    (meant,) = onnxruntime.InferenceSession(tmp_path / "plain" / "graph.onnx").run(
        ["y"], {"x": rounded}
    )
    away = np.abs(found - np.clip(meant, -131 * 5 / 255, 124 * 5 / 255))
    assert np.abs(meant).max() > 124 * 5 / 255 and away.max() <= 0.5 * 5 / 255 + 1e-5
    assert np.allclose(round_static(found, 5.0 / 255, 131.0), found, atol=1e-6)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    onnxruntime.InferenceSession(
        tmp_path / "graph.onnx", options, providers=["CPUExecutionProvider"]
    )
    assert "QLinearConv" in {node.op_type for node in ir.load(tmp_path / "run.onnx").graph}


def test_rows_do_not_depend_on_one_another_per_token_and_do_per_tensor(tmp_path: Path) -> None:
    x = one_layer.inputs("matmul")
    for scheme, alike in (("per_token", True), ("per_tensor", False)):
        folder = tmp_path / scheme
        rewritten(folder, "matmul", Decision(scheme, "matmul", 8))  # type: ignore[arg-type]
        session = onnxruntime.InferenceSession(folder / "graph.onnx")
        whole, alone = session.run(["y"], {"x": x})[0], session.run(["y"], {"x": x[:1, :1]})[0]
        assert np.array_equal(whole[:1, :1], alone) is alike
