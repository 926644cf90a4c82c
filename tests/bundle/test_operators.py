"""The table of operators against graphs that our own exporter and quantisers wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.operators import OPERATORS, check_operators
from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import Node, OnnxFile, read_onnx


def nodes(path: Path) -> Iterator[Node]:
    for name in Bundle.open(path).manifest.components:
        yield from read_onnx((path / f"{name}.onnx").read_bytes()).nodes


def test_what_export_and_quantize_write_is_allowed(
    tiny_bundle: Path, variant: Callable[[str], Path]
) -> None:
    used = set[tuple[str, str]]()
    for path in (tiny_bundle, variant("int8"), variant("int4"), variant("int4-asymmetric")):
        used |= {(node.domain, node.operator) for node in nodes(path)}
    assert used <= OPERATORS.keys()
    # what other layouts and recipes use: FUDOKI's decoder, masked models, speech, static ranges
    left = {operator for _, operator in OPERATORS.keys() - used}
    assert left <= {
        "Abs", "And", "ArgMin", "DequantizeLinear", "DynamicQuantizeLinear", "Elu", "Equal", "Exp",
        "GatherElements", "Gemm", "Greater", "GreaterOrEqual", "GroupNormalization", "LeakyRelu",
        "LessOrEqual", "Max", "Mish", "Mod", "Not", "Or", "Pad", "ReduceMean", "ReduceSum", "Relu",
        "Resize", "Softmax", "Tanh", "Where",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"axis": 2**70}, "operator Split: attribute 'axis' is '1180591620717411303424', expected"),
        ({"axis": (0,)}, "operator Split: attribute 'axis' is '(0,)', expected -8 to 7"),
        ({"num_outputs": 0}, "operator Split: attribute 'num_outputs' is '0', expected 1 to 64"),
        ({"num_outputs": 1.0}, "operator Split: attribute 'num_outputs' is '1.0', expected"),
    ],
)
def test_an_attribute_out_of_its_range_is_named(changed: dict[str, object], error: str) -> None:
    node = Node("", "Split", ("x",), ("a", "b"), {"axis": 0, "num_outputs": 2} | changed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="^" + error.replace("(", "\\(").replace(")", "\\)")):
        check_operators(OnnxFile(nodes=[node], opsets={"": 23}))
