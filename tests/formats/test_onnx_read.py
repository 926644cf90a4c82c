"""Our reader of the wire format against the onnx package."""

from __future__ import annotations

import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nextomni_edge.formats.onnx_read import read_onnx
from tests.bundle.build import external

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


def test_every_tensor_is_found_wherever_it_hides() -> None:
    names = iter("abcdefgh")

    def constant() -> onnx.TensorProto:
        return helper.make_tensor(next(names), TensorProto.FLOAT, [2], b"12345678", raw=True)

    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=constant())], "inner", [], [], [constant()]
    )
    branches = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    many = helper.make_node("Own", [], ["z"])
    many.attribute.append(helper.make_attribute("tensors", [constant(), constant()]))
    many.attribute.append(
        helper.make_attribute("graphs", [helper.make_graph([], "deep", [], [], [constant()])])
    )
    model = helper.make_model(helper.make_graph([branches, many], "g", [], [], [constant()]))
    assert sorted(tensor.name for tensor in read_onnx(model.SerializeToString()).tensors) == [
        "a",
        "a",
        "b",
        "b",
        "c",
        "d",
        "e",
        "f",
    ]


def test_dims_are_read_packed_or_not() -> None:
    unpacked = external("w", (3, 300), location="f", length="1").SerializeToString()
    packed = b"\x0a\x03\x03\xac\x02" + unpacked.removeprefix(b"\x08\x03\x08\xac\x02")
    for tensor in (unpacked, packed):
        graph = b"\x2a" + bytes([len(tensor)]) + tensor
        (found,) = read_onnx(b"\x3a" + bytes([len(graph)]) + graph).tensors
        assert found.dims == (3, 300) and found.entries == (("location", "f"), ("length", "1"))


def test_the_domains_of_subgraphs_count() -> None:
    inner = helper.make_graph(
        [helper.make_node("Evil", [], ["k"], domain="evil.ops")], "inner", [], []
    )
    branches = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    model = helper.make_model(
        helper.make_graph([branches], "g", [], []),
        opset_imports=[helper.make_opsetid("com.microsoft", 1)],
    )
    assert read_onnx(model.SerializeToString()).domains == {"", "com.microsoft", "evil.ops"}
    assert read_onnx(model.SerializeToString()).operators == {("", "If"), ("evil.ops", "Evil")}
