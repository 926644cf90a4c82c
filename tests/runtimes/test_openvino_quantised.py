"""OpenVINO on quantised bundles: the graphs as they are, the same integers, and roundings where the
graph says so alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError
from nextomni_edge.runtimes.base import Execution, Session, runtime
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec
from nextomni_edge.tasks import PLANS
from nextomni_edge.verify import verify
from nextomni_edge.verify.comparison import INT8_LIMIT, LIMIT
from nextomni_edge.verify.replay import replay
from tests.calibration.configs import EACH

pytest.importorskip("openvino", reason="the OpenVINO runtime needs openvino")

Variant = Callable[[str], Path]
ON_OPENVINO = Execution("openvino")


@pytest.mark.parametrize("config", EACH)
def test_every_component_and_task_is_within_its_tolerance_of_pytorch(
    variant: Variant, tiny_checkpoint: Path, config: str
) -> None:
    report = verify(variant(config), tiny_checkpoint, ON_OPENVINO)
    assert report.runtime == "openvino" and report.tasks.keys() == {plan.name for plan in PLANS}
    assert all(task.draws > 0 and not task.near_ties for task in report.tasks.values())
    assert report.components["backbone"].limit == INT8_LIMIT  # rounded inside its kernels
    # rounds nothing
    assert (
        report.components["embed_text"].limit == report.components["image_encoder"].limit == LIMIT
    )


@pytest.mark.parametrize("config", EACH)
def test_what_rounds_nothing_is_what_onnx_runtime_gives(variant: Variant, config: str) -> None:
    """A table of 4-bit blocks, with zero points too, and 8-bit rows."""
    bundle = Bundle.open(variant(config))
    tokens = np.arange(12).reshape(3, 4)
    file, spec = bundle.component_file("embed_text"), bundle.spec("embed_text")
    found, expected = (
        runtime(name).load("embed_text", file, spec).run({"tokens": tokens})
        for name in ("openvino", "onnx")
    )
    np.testing.assert_array_equal(found["embeddings"], expected["embeddings"])


@pytest.mark.parametrize("block_size", [32, 64])
def test_a_product_with_blocks_rounds_its_input_as_onnx_runtime_does(
    block_size: int, tmp_path: Path
) -> None:
    """So that one decision means one arithmetic; on a processor without 8-bit products the library
    rounds nothing."""
    file = blocks(tmp_path, block_size)
    x = np.random.default_rng(1).standard_normal((2, 128)).astype(np.float32)
    exact, rounded = (
        product(tmp_path, x),
        runtime("onnx").load("text_head", file, SPEC).run({"hidden": x})["logits"],
    )
    found = runtime("openvino").load("text_head", file, SPEC).run({"hidden": x})["logits"]
    assert (
        min(np.abs(found - exact).max(), np.abs(found - rounded).max())
        < 1e-4
        < np.abs(rounded - exact).max()
    )


def test_fp8_which_it_rounds_otherwise_is_refused(fp8_bundle: Path) -> None:
    bundle = Bundle.open(fp8_bundle)
    with pytest.raises(
        InputError,
        match=(
            r"^text_head: OpenVINO rounds the smallest numbers of E4M3 otherwise .*--runtime onnx"
        ),
    ):
        runtime("openvino").load(
            "text_head", bundle.component_file("text_head"), bundle.spec("text_head")
        )


def test_the_golden_trace_holds_components_and_leaves_tokens_to_lockstep(variant: Variant) -> None:
    report = replay(Bundle.open(variant("int4")), ON_OPENVINO)
    assert report.failures == [] and report.components["backbone"].error > 0 and report.tasks == {}
    assert all(
        "rounds in its own way" in reason and "--against MODEL" in reason
        for reason in report.skipped.values()
    )
    assert report.skipped


def test_an_input_that_is_multiplied_by_ones_keeps_its_name(tmp_path: Path) -> None:
    """The library leaves such a product out, as AWQ without anything to smooth writes it, and gives
    the input both names."""
    ones = numpy_helper.from_array(np.ones(128, np.float32), "ones")
    weight = numpy_helper.from_array(np.eye(128, 16, dtype=np.float32), "w")
    nodes = [
        helper.make_node("Mul", ["hidden", "ones"], ["smoothed"]),
        helper.make_node("MatMul", ["smoothed", "w"], ["logits"]),
    ]
    session = loaded(save(tmp_path, nodes, [ones, weight]))
    x = np.random.default_rng(0).standard_normal((2, 128)).astype(np.float32)
    np.testing.assert_allclose(session.run({"hidden": x})["logits"], x[:, :16], atol=1e-6)


def test_a_graph_that_is_none_is_refused_with_the_component(tmp_path: Path) -> None:
    (tmp_path / "text_head.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(InputError, match=r"^text_head: "):
        loaded(tmp_path / "text_head.onnx")


BATCH = Dim("batch", 1, 4)
SPEC = GraphSpec(
    "text_head",
    (TensorSpec("hidden", "float32", (BATCH, 128)),),
    (TensorSpec("logits", "float32", (BATCH, 16)),),
)


def loaded(file: Path) -> Session:
    return runtime("openvino").load("text_head", file, SPEC)


def parts(block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers (16, blocks, block_size) below 16, and scales (16, blocks)."""
    generator = np.random.default_rng(0)
    count = 128 // block_size
    return generator.integers(0, 16, (16, count, block_size), np.uint8), generator.uniform(
        0.1, 0.2, (16, count)
    ).astype(np.float32)


def product(folder: Path, x: np.ndarray) -> np.ndarray:
    """x · Ŵᵀ of the graph that `blocks` wrote into a folder."""
    q, scale = parts(int((folder / "block_size").read_text()))
    found: np.ndarray = x @ ((q.astype(np.float32) - 8) * scale[..., None]).reshape(16, 128).T
    return found


def blocks(folder: Path, block_size: int) -> Path:
    """A product with 4-bit blocks as the quantiser names and stores it."""
    q, scale = parts(block_size)
    packed = numpy_helper.from_array(q[..., 0::2] | (q[..., 1::2] << 4), "weight.quantised")
    (folder / "weight").write_bytes(packed.raw_data)
    packed.ClearField("raw_data")
    packed.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weight", "offset": "0", "length": str(q.size // 2)}.items():
        packed.external_data.add(key=key, value=value)
    (folder / "block_size").write_text(str(block_size))
    attributes = {"K": 128, "N": 16, "bits": 4, "block_size": block_size, "accuracy_level": 4}
    node = helper.make_node(
        "MatMulNBits",
        ["hidden", packed.name, "scale"],
        ["logits"],
        domain="com.microsoft",
        **attributes,
    )
    return save(folder, [node], [packed, numpy_helper.from_array(scale, "scale")])


def save(folder: Path, nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> Path:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("hidden", 128), ("logits", 16))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    imports = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(
        helper.make_model(graph, opset_imports=imports, ir_version=10), folder / "text_head.onnx"
    )
    return folder / "text_head.onnx"
