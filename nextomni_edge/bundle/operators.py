"""The operators that a bundle's ONNX graphs may use: what our exporters and quantisers emit, and
nothing else.

A new operator is one entry here and, where its output has another shape than its first input, one
rule in graph_sizes.py. `tests/bundle/test_operators.py` holds the table against exported graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nextomni_edge.errors import InputError
from nextomni_edge.formats.onnx_read import Attribute, Node, OnnxFile

MICROSOFT: Final = "com.microsoft"
# first and last opset that is read, by domain: what ONNX Runtime 1.23 and later know
OPSETS: Final[Mapping[str, tuple[int, int]]] = {"": (21, 23), MICROSOFT: (1, 1)}
MAX_NODES: Final = 20_000
SIZE: Final = 2**24  # of a kernel, a stride, a padding or a block


@dataclass(frozen=True)
class Integers:
    """An integer, or a list of at most `most`, each from `low` to `high`."""

    low: int
    high: int
    most: int = 0

    def __str__(self) -> str:
        shown = f"{self.low} to {self.high}" if self.low != self.high else str(self.low)
        return f"at most {self.most} numbers of {shown}" if self.most else shown

    def allows(self, value: Attribute) -> bool:
        numbers = value if isinstance(value, tuple) else (value,)
        return (
            isinstance(value, tuple) == (self.most > 0)
            and len(numbers) <= max(self.most, 1)
            and all(type(n) is int and self.low <= n <= self.high for n in numbers)
        )


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`; NaN is none."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def allows(self, value: Attribute) -> bool:
        return isinstance(value, float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Words:
    """One of these texts."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return " or ".join(map(repr, self.words))

    def allows(self, value: Attribute) -> bool:
        return value in self.words


@dataclass(frozen=True)
class Choice:
    """One of these numbers."""

    numbers: tuple[int, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.numbers))

    def allows(self, value: Attribute) -> bool:
        return type(value) is int and value in self.numbers


@dataclass(frozen=True)
class Operator:
    """Fewest and most inputs and outputs, and the attributes that an operator may have."""

    inputs: tuple[int, int]
    outputs: tuple[int, int] = (1, 1)
    attributes: Mapping[str, Integers | Real | Words | Choice] = field(default_factory=dict)


Attributes = Mapping[str, Integers | Real | Words | Choice]
_ONE, _TWO = Operator((1, 1)), Operator((2, 2))
_AXIS = Integers(-8, 7)
_FLAG = Integers(0, 1)
_SIZES = Integers(1, SIZE, 3)
_BITS: Attributes = {"bits": Integers(4, 8), "block_size": Integers(16, 128)}
_NORM: Attributes = {"axis": Integers(-1, -1), "epsilon": Real(0, 1), "stash_type": Integers(1, 1)}
_REDUCED: Attributes = {"keepdims": _FLAG, "noop_with_empty_axes": Integers(0, 0)}
_WINDOW: Attributes = {
    "auto_pad": Words(("NOTSET",)), "dilations": _SIZES, "group": Integers(1, SIZE),
    "kernel_shape": _SIZES, "pads": Integers(0, SIZE, 6), "strides": _SIZES,
}  # fmt: skip
EQUATIONS: Final = ("bnkd,kcd->bnkc", "nkw,kwc->nkc")  # of sub-heads and of metric tables

OPERATORS: Final[Mapping[tuple[str, str], Operator]] = {
    ("", "Abs"): _ONE,
    ("", "Add"): _TWO,
    ("", "ArgMax"): Operator(
        (1, 1), attributes={"axis": _AXIS, "keepdims": _FLAG, "select_last_index": _FLAG}
    ),
    ("", "ArgMin"): Operator(
        (1, 1), attributes={"axis": _AXIS, "keepdims": _FLAG, "select_last_index": _FLAG}
    ),
    ("", "And"): _TWO,
    ("", "Attention"): Operator(
        (3, 4),
        attributes={
            "is_causal": _FLAG, "qk_matmul_output_mode": Integers(0, 0), "softcap": Real(0, 1e4),
            "scale": Real(0, 1e4),
        },
    ),
    ("", "Cast"): Operator((1, 1), attributes={"to": Choice((1, 7))}),
    ("", "Clip"): Operator((1, 3)),
    ("", "Concat"): Operator((1, 64), attributes={"axis": _AXIS}),
    ("", "Conv"): Operator((2, 3), attributes=_WINDOW),
    ("", "ConvTranspose"): Operator(
        (2, 3), attributes={**_WINDOW, "output_padding": Integers(0, SIZE, 3)}
    ),
    ("", "Cos"): _ONE,
    ("", "DepthToSpace"): Operator(
        (1, 1), attributes={"blocksize": Integers(1, 2**10), "mode": Words(("CRD", "DCR"))}
    ),
    ("", "DequantizeLinear"): Operator(
        (2, 3), attributes={"axis": _AXIS, "block_size": Integers(0, SIZE)}
    ),
    ("", "Div"): _TWO,
    ("", "DynamicQuantizeLinear"): Operator((1, 1), (3, 3)),
    ("", "Elu"): Operator((1, 1), attributes={"alpha": Real(0, 1e4)}),
    ("", "Equal"): _TWO,
    ("", "Exp"): _ONE,
    ("", "Einsum"): Operator((2, 2), attributes={"equation": Words(EQUATIONS)}),
    ("", "Expand"): _TWO,
    ("", "Floor"): _ONE,
    ("", "Gather"): Operator((2, 2), attributes={"axis": _AXIS}),
    ("", "GatherElements"): Operator((2, 2), attributes={"axis": _AXIS}),
    ("", "Gelu"): Operator((1, 1), attributes={"approximate": Words(("none", "tanh"))}),
    ("", "Gemm"): Operator(
        (2, 3),
        attributes={
            "alpha": Real(1, 1), "beta": Real(1, 1), "transA": Integers(0, 0), "transB": _FLAG,
        },
    ),
    ("", "Greater"): _TWO,
    ("", "GreaterOrEqual"): _TWO,
    ("", "GroupNormalization"): Operator(
        (3, 3),
        attributes={
            "epsilon": Real(0, 1), "num_groups": Integers(1, SIZE), "stash_type": Integers(1, 1),
        },
    ),
    ("", "LayerNormalization"): Operator((2, 3), attributes=_NORM),
    ("", "LeakyRelu"): Operator((1, 1), attributes={"alpha": Real(0, 1)}),
    ("", "LessOrEqual"): _TWO,
    ("", "MatMul"): _TWO,
    ("", "MatMulInteger"): Operator((2, 4)),
    ("", "Max"): _TWO,
    ("", "Mish"): _ONE,
    ("", "Mod"): Operator((2, 2), attributes={"fmod": Integers(0, 0)}),
    ("", "Mul"): _TWO,
    ("", "Neg"): _ONE,
    ("", "Not"): _ONE,
    ("", "Or"): _TWO,
    ("", "Pad"): Operator((2, 3), attributes={"mode": Words(("constant", "reflect"))}),
    ("", "Pow"): _TWO,
    ("", "QuantizeLinear"): Operator(
        (3, 3), attributes={"axis": _AXIS, "saturate": Integers(1, 1)}
    ),
    ("", "RMSNormalization"): Operator((2, 2), attributes=_NORM),
    ("", "Range"): Operator((3, 3)),
    ("", "ReduceL2"): Operator((1, 2), attributes=_REDUCED),
    ("", "Relu"): _ONE,
    ("", "ReduceMean"): Operator((1, 2), attributes=_REDUCED),
    ("", "ReduceMax"): Operator((1, 2), attributes=_REDUCED),
    ("", "ReduceSum"): Operator((1, 2), attributes=_REDUCED),
    ("", "Reshape"): Operator((2, 2), attributes={"allowzero": _FLAG}),
    ("", "Resize"): Operator(
        (3, 3),
        attributes={
            "antialias": Integers(0, 0), "coordinate_transformation_mode": Words(("asymmetric",)),
            "cubic_coeff_a": Real(-1, 0), "exclude_outside": Integers(0, 0),
            "extrapolation_value": Real(0, 0), "keep_aspect_ratio_policy": Words(("stretch",)),
            "mode": Words(("nearest",)), "nearest_mode": Words(("floor",)),
        },
    ),
    ("", "Shape"): Operator((1, 1), attributes={"start": _AXIS, "end": _AXIS}),
    ("", "Sigmoid"): _ONE,
    ("", "Sign"): _ONE,
    ("", "Sin"): _ONE,
    ("", "Slice"): Operator((3, 5)),
    ("", "Softmax"): Operator((1, 1), attributes={"axis": _AXIS}),
    ("", "Split"): Operator(
        (1, 1), (1, 64), {"axis": _AXIS, "num_outputs": Integers(1, 64)}
    ),
    ("", "Sqrt"): _ONE,
    ("", "Squeeze"): Operator((1, 2)),
    ("", "Sub"): _TWO,
    ("", "Tanh"): _ONE,
    ("", "Transpose"): Operator((1, 1), attributes={"perm": Integers(0, 7, 8)}),
    ("", "Unsqueeze"): _TWO,
    ("", "Where"): Operator((3, 3)),
    (MICROSOFT, "GatherBlockQuantized"): Operator(
        (3, 4),
        attributes={"gather_axis": Integers(0, 0), "quantize_axis": Integers(1, 1), **_BITS},
    ),
    (MICROSOFT, "MatMulNBits"): Operator(
        (3, 4),
        attributes={
            "K": Integers(1, SIZE), "N": Integers(1, SIZE), "accuracy_level": Integers(0, 4),
            **_BITS,
        },
    ),
}  # fmt: skip


def check_operators(graph: OnnxFile) -> None:
    """InputError: an opset, an operator or an attribute that no exporter of ours writes."""
    for domain, version in sorted(graph.opsets.items()):
        if domain not in OPSETS:
            raise InputError(
                f"operators of domain {domain[:80]!a}, allowed are ONNX's own and com.microsoft's"
            )
        first, last = OPSETS[domain]
        if not first <= version <= last:
            shown = f"{first} to {last}" if first != last else str(first)
            raise InputError(f"opset {version} of domain {domain!r}, expected {shown}")
    if "" not in graph.opsets:
        raise InputError("no opset of ONNX's own operators")
    if len(graph.nodes) > MAX_NODES:
        raise InputError(f"{len(graph.nodes)} operators, at most {MAX_NODES} are read")
    for node in graph.nodes:
        _check_node(node, graph.opsets)


def _check_node(node: Node, opsets: Mapping[str, int]) -> None:
    if node.domain not in OPSETS:
        raise InputError(
            f"operators of domain {node.domain[:80]!a}, allowed are ONNX's own and com.microsoft's"
        )
    name = f"{node.domain}.{node.operator}" if node.domain else node.operator
    known = OPERATORS.get((node.domain, node.operator))
    if known is None:
        raise InputError(f"operator {name[:80]!a} is none that `export` or `quantize` writes")
    if node.domain not in opsets:
        raise InputError(f"operator {name}: no opset of domain {node.domain!r}")
    for kind, found, (least, most) in (
        ("inputs", len(node.inputs), known.inputs),
        ("outputs", len(node.outputs), known.outputs),
    ):
        if not least <= found <= most:
            expected = str(least) if least == most else f"{least} to {most}"
            raise InputError(f"operator {name}: {found} {kind}, expected {expected}")
    for attribute, value in node.attributes.items():
        allowed = known.attributes.get(attribute)
        if allowed is None:
            raise InputError(f"operator {name}: attribute {attribute[:80]!a} is not supported")
        if not allowed.allows(value):
            raise InputError(
                f"operator {name}: attribute {attribute!r} is {str(value)[:60]!a}, expected"
                f" {allowed}"
            )
