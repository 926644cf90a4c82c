"""Our reader of the wire format against the onnx package."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import Node, read_onnx
from tests.bundle.build import external

pytestmark = pytest.mark.usefixtures("within_bounds")

DIMS = st.lists(st.integers(0, 2**40) | st.text(max_size=5).filter(bool), max_size=4)
VALUES = st.lists(st.tuples(st.text(max_size=6), st.sampled_from([1, 7, 9, 10]), DIMS), max_size=4)


def shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else None
        for dim in value.type.tensor_type.shape.dim
    )


@given(inputs=VALUES, outputs=VALUES)
@settings(deadline=None, max_examples=50)
def test_inputs_and_outputs_are_read_as_onnx_reads_them(
    inputs: list[tuple[str, int, list[int | str]]], outputs: list[tuple[str, int, list[int | str]]]
) -> None:
    made = [
        [helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs)
    ]
    model = helper.make_model(helper.make_graph([], "g", *made))
    found = read_onnx(model.SerializeToString())
    for values, originals in ((found.inputs, made[0]), (found.outputs, made[1])):
        assert [(value.name, value.element, value.dims) for value in values] == [
            (value.name, value.type.tensor_type.elem_type, shape(value)) for value in originals
        ]


def test_a_subgraph_is_refused_wherever_it_hides() -> None:
    inner = helper.make_graph([], "inner", [], [])
    many = helper.make_node("Own", [], ["z"])
    many.attribute.append(helper.make_attribute("graphs", [inner]))
    for node, name, kind in (
        (helper.make_node("Loop", ["n", "c"], ["y"], body=inner), "body", 5),
        (many, "graphs", 10),
        (helper.make_node("Constant", [], ["k"], value=TensorProto(name="k")), "value", 4),
    ):
        model = helper.make_model(helper.make_graph([node], "g", [], []))
        with pytest.raises(InputError) as raised:
            read_onnx(model.SerializeToString())
        assert str(raised.value) == (
            f"{node.op_type!r}: attribute {name!r} has type {kind}, expected numbers or text (no"
            " subgraphs)"
        )


@given(
    number=st.integers(-(2**63), 2**63 - 1),
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    real=st.floats(width=32, allow_nan=False),
    reals=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5),
    word=st.text(max_size=8),
)
def test_nodes_and_their_attributes_are_read_as_onnx_reads_them(
    number: int, numbers: list[int], real: float, reals: list[float], word: str
) -> None:
    node = helper.make_node("Own", ["a", "", "b"], ["c"], domain="d")
    pairs = {"n": number, "x": real, "w": word, "xs": reals} | ({"ns": numbers} if numbers else {})
    node.attribute.extend(helper.make_attribute(name, value) for name, value in pairs.items())
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    (found,) = read_onnx(model.SerializeToString()).nodes
    expected = {k: tuple(v) if isinstance(v, list) else v for k, v in pairs.items()}
    assert found == Node("d", "Own", ("a", "", "b"), ("c",), expected)


def test_dims_are_read_packed_or_not() -> None:
    unpacked = external("w", (3, 300), location="f", length="1").SerializeToString()
    packed = b"\x0a\x03\x03\xac\x02" + unpacked.removeprefix(b"\x08\x03\x08\xac\x02")
    for tensor in (unpacked, packed):
        graph = b"\x2a" + bytes([len(tensor)]) + tensor
        (found,) = read_onnx(b"\x3a" + bytes([len(graph)]) + graph).tensors
        assert found.dims == (3, 300) and found.entries == (("location", "f"), ("length", "1"))
