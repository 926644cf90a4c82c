"""Graphs whose hashes are true and whose operators would hang, crash or flood a device. In an error
{b} stands for the bundle's path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.bundle.damage import Case, Damage, graph, rewrite

GRAPH = "{b}/backbone.onnx: "


def constant(model: onnx.ModelProto, name: str, values: object, dtype: str = "int64") -> str:
    array = np.asarray(values, dtype)
    element = helper.np_dtype_to_tensor_dtype(array.dtype)
    model.graph.initializer.append(
        helper.make_tensor(name, element, array.shape, array.tobytes(), raw=True)
    )
    return name


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str] = ("made",),
    constants: dict[str, object] | None = None,
    domain: str = "",
    **attributes: object,
) -> Damage:
    """One more operator, first in the graph, and the constants that it reads."""

    def edit(model: onnx.ModelProto) -> None:
        for name, values in (constants or {}).items():
            constant(model, name, values, "float32" if name[0] == "f" else "int64")
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))
        made = helper.make_node(operator, list(inputs), list(outputs), domain=domain, **attributes)
        model.graph.node.insert(0, made)

    return graph(edit)


def opset(version: int, domain: str = "") -> Damage:
    def edit(model: onnx.ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.append(helper.make_opsetid(domain, version))

    return graph(edit)


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("i", TensorProto.INT64, [])],
    )
    constant(model, "turns", 2**62)
    model.graph.node.append(helper.make_node("Loop", ["turns", ""], ["k"], body=body))


def many_nodes(model: onnx.ModelProto) -> None:
    for index in range(20_001):
        model.graph.node.append(helper.make_node("Abs", ["embeddings"], [f"a{index}"]))


def doubled(model: onnx.ModelProto) -> None:
    """Each value twice the one before it: 40 lines, a terabyte for each row."""
    source = "embeddings"
    for index in range(40):
        made = helper.make_node("Concat", [source, source], [f"d{index}"], axis=2)
        model.graph.node.insert(index, made)
        source = f"d{index}"


def inside(number: int, content: bytes) -> bytes:
    """A message of one field."""
    length, found = len(content), bytearray([number << 3 | 2])
    while length > 127:
        found.append(length & 127 | 128)
        length >>= 7
    return bytes(found) + bytes([length]) + content


def fields(count: int) -> bytes:
    return b"\x6a\x00" * count


def without_shape(model: onnx.ModelProto) -> None:
    """The last value of the graph under another name: the output is not computed."""
    for made in model.graph.node:
        if made.output[0] == "hidden":
            made.output[0] = "hid"


def wrong_shape(model: onnx.ModelProto) -> None:
    for made in model.graph.node:
        if made.output[0] == "hidden.shape":
            made.input[0] = made.input[1]


def written_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Abs", ["embeddings"], ["hidden"]))


def typed_data(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("t", TensorProto.FLOAT, [2], [1.0, 2.0]))


def text_data(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"x"]))


DEPENDS = "a shape that depends on more than the interface"
CASES: list[Case] = [
    (
        "a loop for ever",
        graph(loop),
        GRAPH + "'Loop': attribute 'body' has type 5, expected numbers or text (no subgraphs)",
    ),
    (
        "a scan",
        node("Scan", ["embeddings"], num_scan_inputs=1),
        GRAPH + "operator 'Scan' is none that `export` or `quantize` writes",
    ),
    (
        "a constant of any shape",
        node("ConstantOfShape", ["positions"]),
        GRAPH + "operator 'ConstantOfShape' is none that `export` or `quantize` writes",
    ),
    (
        "tiles",
        node("Tile", ["embeddings", "t"], constants={"t": [2**20, 1, 1]}),
        GRAPH + "operator 'Tile' is none that `export` or `quantize` writes",
    ),
    (
        "random numbers",
        node("RandomNormal", [], shape=[2**40]),
        GRAPH + "operator 'RandomNormal' is none that `export` or `quantize` writes",
    ),
    (
        "an operator with a control character in its name",
        node("\x1b[2J", ["embeddings"]),
        GRAPH + "operator '\\x1b[2J' is none that `export` or `quantize` writes",
    ),
    (
        "a gigantic expansion",
        node("Expand", ["embeddings", "s"], constants={"s": [2**20, 2**20, 8]}),
        GRAPH + "operator 0 (Expand): shapes that do not fit each other",
    ),
    (
        "an expansion to terabytes",
        node("Expand", ["f", "s"], constants={"f": 0.0, "s": [2**20, 2**20]}),
        GRAPH + "operator 0 (Expand): 4398046511104 bytes of values at batch 1, rows 1, past 0,"
        " attended 1, at most 16792736 fit the interface",
    ),
    (
        "an expansion by what the device is given",
        node("Expand", ["f", "positions"], constants={"f": 0.0}),
        GRAPH + "operator 0 (Expand): " + DEPENDS,
    ),
    (
        "a shape that the device is given",
        node("Reshape", ["embeddings", "positions"]),
        GRAPH + "operator 0 (Reshape): " + DEPENDS,
    ),
    (
        "a shape with two free sizes",
        node("Reshape", ["embeddings", "s"], constants={"s": [-1, -1]}),
        GRAPH + "operator 0 (Reshape): a shape with sizes below 0",
    ),
    (
        "a shape far below 0",
        node("Reshape", ["embeddings", "s"], constants={"s": [-(2**63)]}),
        GRAPH + "operator 0 (Reshape): a shape with sizes below 0",
    ),
    (
        "a shape that holds more than its values",
        node("Reshape", ["embeddings", "s"], constants={"s": [2**40]}),
        GRAPH + "operator 0 (Reshape): a shape that does not hold its values",
    ),
    (
        "a range without end",
        node("Range", ["a", "b", "c"], constants={"a": 0, "b": 2**62, "c": 1}),
        GRAPH + "operator 0 (Range): sizes below 0 or without end",
    ),
    (
        "a range in no steps",
        node("Range", ["a", "b", "c"], constants={"a": 0, "b": 9, "c": 0}),
        GRAPH + "operator 0 (Range): a range in steps of 0",
    ),
    (
        "a range of gigabytes",
        node("Range", ["a", "b", "c"], constants={"a": 0, "b": 2**40, "c": 1}),
        GRAPH + "operator 0 (Range): 8796093022208 bytes of values at batch 1, rows 1, past 0,"
        " attended 1, at most 16792752 fit the interface",
    ),
    (
        "a padding of gigabytes",
        node("Pad", ["embeddings", "p"], constants={"p": [0, 2**20, 0, 0, 0, 0]}),
        GRAPH + "operator 0 (Pad): 33554464 bytes of values at batch 1, rows 1, past 0,"
        " attended 1, at most 16792848 fit the interface",
    ),
    (
        "a padding below 0",
        node("Pad", ["embeddings", "p"], constants={"p": [0, -1, 0, 0, 0, 0]}),
        GRAPH + "operator 0 (Pad): a padding below 0, or not two for each axis",
    ),
    (
        "the smallest integer divided by -1",
        node("Div", ["a", "b"], constants={"a": -(2**63), "b": -1}),
        GRAPH + "operator 0 (Div): a divisor of -1, expected at least 1",
    ),
    (
        "a remainder",
        node("Mod", ["a", "b"], constants={"a": -(2**63), "b": -1}),
        GRAPH + "operator 0 (Mod): a divisor of -1, expected at least 1",
    ),
    (
        "a remainder of 0",
        node("Mod", ["positions", "b"], constants={"b": 0}),
        GRAPH + "operator 0 (Mod): a divisor of 0, expected at least 1",
    ),
    (
        "a remainder of what the device is given",
        node("Mod", ["positions", "positions"]),
        GRAPH + "operator 0 (Mod): a divisor that depends on more than the interface",
    ),
    (
        "an integer's power",
        node("Pow", ["a", "b"], constants={"a": 2, "b": 2**62}),
        GRAPH + "operator 0 (Pow): of integers, expected floating point",
    ),
    (
        "sizes multiplied beyond any",
        node("Mul", ["a", "b"], constants={"a": 2**40, "b": 2**40}),
        GRAPH + "operator 0 (Mul): a size beyond 1.1259e+15",
    ),
    (
        "values doubled again and again",
        graph(doubled),
        GRAPH + "operator 9 (Concat): 50331648 bytes of values at batch 16, rows 64, past 0,"
        " attended 64, at most 40444176 fit the interface",
    ),
    (
        "a value read before it is computed",
        node("Abs", ["hidden"]),
        GRAPH + "operator 0 (Abs): input 'hidden' is not computed before",
    ),
    (
        "a value computed twice",
        graph(written_twice),
        GRAPH + "value 'hidden' is computed twice",
    ),
    ("an output not computed", graph(without_shape), GRAPH + "output hidden is not computed"),
    (
        "an output of another shape",
        graph(wrong_shape),
        GRAPH + "output hidden: axis 0 is computed with size 2 at batch 1, rows 2, past 0,"
        " attended 2, expected 1",
    ),
    (
        "an axis that is not there",
        node("Gather", ["embeddings", "i"], constants={"i": [0]}, axis=7),
        GRAPH + "operator 0 (Gather): axis 7 of a value of rank 3",
    ),
    (
        "an axis beyond any",
        node("Gather", ["embeddings", "i"], constants={"i": [0]}, axis=2**40),
        GRAPH + "operator Gather: attribute 'axis' is '1099511627776', expected -8 to 7",
    ),
    (
        "an attribute unknown",
        node("Abs", ["embeddings"], session="/etc/passwd"),
        GRAPH + "operator Abs: attribute 'session' is not supported",
    ),
    (
        "an attribute of another type",
        node("Concat", ["embeddings", "embeddings"], axis="0"),
        GRAPH + "operator Concat: attribute 'axis' is '0', expected -8 to 7",
    ),
    (
        "a cast to text",
        node("Cast", ["embeddings"], to=8),
        GRAPH + "operator Cast: attribute 'to' is '8', expected 1 or 7",
    ),
    (
        "an equation of another's",
        node("Einsum", ["embeddings", "embeddings"], equation="abc,def->abcdef"),
        GRAPH + "operator Einsum: attribute 'equation' is 'abc,def->abcdef', expected"
        " 'bnkd,kcd->bnkc' or 'nkw,kwc->nkc'",
    ),
    (
        "NaN as an epsilon",
        node(
            "RMSNormalization",
            ["embeddings", "f"],
            constants={"f": [1.0] * 8},
            epsilon=float("nan"),
        ),
        GRAPH + "operator RMSNormalization: attribute 'epsilon' is 'nan', expected a number from 0"
        " to 1",
    ),
    (
        "a stride of 0",
        node("Conv", ["embeddings", "f"], constants={"f": np.zeros((1, 1, 1))}, strides=[0]),
        GRAPH + "operator Conv: attribute 'strides' is '(0,)', expected at most 3 numbers of 1 to"
        " 16777216",
    ),
    (
        "a dilation of gigabytes",
        node(
            "ConvTranspose",
            ["embeddings", "f"],
            constants={"f": np.zeros((1, 1, 2))},
            dilations=[2**40],
        ),
        GRAPH + "operator ConvTranspose: attribute 'dilations' is '(1099511627776,)', expected at"
        " most 3 numbers of 1 to 16777216",
    ),
    (
        "a picture enlarged to terabytes",
        node("Resize", ["embeddings", "", "f"], constants={"f": [1.0, 2.0**12, 2.0**12]}),
        GRAPH + "operator 0 (Resize): 536870912 bytes of values at batch 1, rows 1, past 0,"
        " attended 1, at most 16792704 fit the interface",
    ),
    (
        "a picture enlarged NaN times",
        node("Resize", ["embeddings", "", "f"], constants={"f": [1.0, float("nan"), 1.0]}),
        GRAPH + "operator 0 (Resize): scales that are not one above 0 for each axis",
    ),
    (
        "inputs too many",
        node("Abs", ["embeddings", "embeddings"]),
        GRAPH + "operator Abs: 2 inputs, expected 1",
    ),
    (
        "blocks that are not there",
        node(
            "MatMulNBits",
            ["embeddings", "q", "f"],
            constants={"q": [0], "f": [0.0]},
            domain="com.microsoft",
            K=8,
            N=2**20,
            bits=4,
            block_size=16,
        ),
        GRAPH + "operator 0 (MatMulNBits): input 1 has 1 values, K and N need 8388608",
    ),
    (
        "blocks without sizes",
        node(
            "MatMulNBits",
            ["embeddings", "q", "f"],
            constants={"q": [0], "f": [0.0]},
            domain="com.microsoft",
            bits=4,
            block_size=16,
        ),
        GRAPH + "operator 0 (MatMulNBits): its inputs do not fit it",
    ),
    (
        "an opset beyond any",
        opset(2**62),
        GRAPH + "opset 4611686018427387904 of domain '', expected 21 to 23",
    ),
    ("an opset below 0", opset(-1), GRAPH + "opset -1 of domain '', expected 21 to 23"),
    (
        "an opset of Microsoft's beyond any",
        opset(2**40, "com.microsoft"),
        GRAPH + "opset 1099511627776 of domain 'com.microsoft', expected 1",
    ),
    (
        "no opset",
        graph(lambda m: m.ClearField("opset_import")),
        GRAPH + "no opset of ONNX's own operators",
    ),
    (
        "a domain that no opset names",
        graph(lambda m: setattr(m.graph.node[1], "domain", "com.microsoft")),
        GRAPH + "operator 'com.microsoft.Shape' is none that `export` or `quantize` writes",
    ),
    (
        "operators without end",
        graph(many_nodes),
        GRAPH + "20013 operators, at most 20000 are read",
    ),
    (
        "fields without end",
        rewrite("backbone.onnx", lambda content: content + fields(2**18)),
        GRAPH + "more than 262144 fields, the most that are read",
    ),
    (
        "sixteen megabytes of empty fields",
        rewrite("backbone.onnx", lambda content: fields(2**23)),
        GRAPH + "more than 262144 fields, the most that are read",
    ),
    (
        "dims without end",
        rewrite("backbone.onnx", inside(7, inside(5, inside(1, b"\x01" * 2**22)))),
        GRAPH + "more than 262144 fields, the most that are read",
    ),
    (
        "data that no size bounds",
        graph(typed_data),
        GRAPH + "tensor 't': 0 bytes of data, its dims need 8",
    ),
    ("texts as data", graph(text_data), GRAPH + "tensor 't': element type 8 is not supported"),
    (
        "a constant of terabytes without data",
        graph(
            lambda m: m.graph.initializer.append(TensorProto(name="t", data_type=1, dims=[2**30]))
        ),
        GRAPH + "tensor 't': 0 bytes of data, its dims need 4294967296",
    ),
]
