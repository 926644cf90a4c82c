"""A bundle's graph as the quantiser sees it: its layers, the operators that read them, and their
values in pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.formats.tensor_file import WIDTHS, Location, read_values

Float = NDArray[np.float32]
Operator = Literal["matmul", "linear", "gather", "conv", "einsum"]

PIECE: Final = 2**23  # values of a weight that are held as float32 at a time
DTYPES: Final = {ir.DataType.FLOAT: "float32", ir.DataType.FLOAT16: "float16"}
# signal processing whose spectra span eight decades: no weights of a network
NOT_LEARNED: Final = ("vocoder.",)
CONTRACTION: Final = "nkw,kwc->nkc"  # the one Einsum that a head has: a matrix per sub-code


@dataclass(frozen=True)
class Layer:
    """A weight that can be quantised, and the operator that reads it.

    `shape` is the weight's in the graph: "matmul" (in, out); "linear" (out, in), transposed in the
    graph (a tied table); "gather" (rows, width); "conv" (out, in, …); "einsum" (K, in, out).
    `input` names the value that it is multiplied with, `output` the operator's result.
    """

    component: str
    weight: str
    operator: Operator
    shape: tuple[int, ...]
    input: str
    output: str

    @property
    def name(self) -> str:
        """A name that is stable over variants of a model: component/weight."""
        return f"{self.component}/{self.weight}"

    @property
    def model_shape(self) -> tuple[int, ...]:
        """The weight's shape in the model: (out, in) for either product of matrices."""
        return self.shape[::-1] if self.operator == "matmul" else self.shape

    @property
    def features(self) -> int:
        """The length of the axis that is summed over; for a gather, of its rows."""
        return self.shape[0] if self.operator == "matmul" else self.shape[1]

    @property
    def after(self) -> Layer:
        """A stand-in for a reader of a convolution's output, so that the output is observed."""
        return Layer(
            self.component,
            f"{self.weight} (output)",
            self.operator,
            (0, self.shape[0]),
            self.output,
            "",
        )


def layers(component: str, model: ir.Model) -> list[Layer]:
    """Every layer of a component's graph, in the order in which the graph names its weights."""
    found = (_layer(component, value) for value in model.graph.initializers.values())
    return [layer for layer in found if layer is not None]


def _layer(component: str, weight: ir.Value) -> Layer | None:
    if (
        not isinstance(weight.const_value, ir.ExternalTensor)
        or weight.dtype not in DTYPES
        or weight.name is None
    ):
        return None
    if weight.name.startswith(NOT_LEARNED):
        return None
    node, transposed = reader(weight)
    if node is None:
        return None
    shape = tuple(weight.const_value.shape.numpy())
    operator = _operator(node, shape, transposed)
    source = node.inputs[1 if operator == "gather" else 0]
    if operator is None or source is None or source.name is None:
        return None
    return Layer(component, weight.name, operator, shape, source.name, node.outputs[0].name or "")


def reader(weight: ir.Value) -> tuple[ir.Node | None, bool]:
    """The only node that computes with a weight, and whether it reads it transposed. Casts to
    float32 do not count."""
    value, transposed = weight, False
    while True:
        uses = list(value.uses())
        if len(uses) != 1:
            return None, False
        node, index = uses[0]
        if node.op_type == "Cast":
            value = node.outputs[0]
        elif (
            node.op_type == "Transpose"
            and not transposed
            and tuple(node.attributes["perm"].as_ints()) == (1, 0)
        ):
            value, transposed = node.outputs[0], True
        else:
            return (
                node if index == (0 if node.op_type.startswith("Gather") else 1) else None
            ), transposed


def _operator(node: ir.Node, shape: tuple[int, ...], transposed: bool) -> Operator | None:
    if node.op_type == "MatMul" and len(shape) == 2:
        return "linear" if transposed else "matmul"
    if transposed:
        return None
    if node.op_type == "Gather" and len(shape) == 2 and node.attributes.get_int("axis", 0) == 0:
        return "gather"
    if node.op_type == "Conv":
        return "conv"
    if node.op_type == "Einsum" and node.attributes.get_string("equation") == CONTRACTION:
        return "einsum"
    return None


class Weight:
    """A layer's values, widened to float32. InputError: cut off, or not finite (the tensor is
    named)."""

    def __init__(self, layer: Layer, tensor: ir.ExternalTensor) -> None:
        self.layer, self.shape, dtype = layer, layer.shape, DTYPES[tensor.dtype]
        nbytes = math.prod(layer.shape) * WIDTHS[dtype]
        self._at = Location(Path(tensor.path), tensor.offset or 0, nbytes, dtype, layer.shape)

    def rows(self, start: int, stop: int) -> Float:
        """Rows `start` to `stop` of the first axis."""
        row = math.prod(self.shape[1:])
        flat = read_values(self._at, start * row, (stop - start) * row)
        values: Float = flat.reshape(stop - start, *self.shape[1:])
        if not np.isfinite(values).all():
            raise InputError(
                f"tensor {self.layer.name} has values that are not finite (NaN or infinity); export"
                " the model again"
            )
        return values

    def pieces(self, multiple: int = 1) -> Iterator[tuple[int, Float]]:
        """(first row, rows), in order. `multiple` divides the number of rows of each but the
        last."""
        step = max(1, PIECE // math.prod(self.shape[1:]) // multiple) * multiple
        for start in range(0, self.shape[0], step):
            yield start, self.rows(start, min(start + step, self.shape[0]))

    def whole(self) -> Float:
        """The whole weight in the graph's layout."""
        return self.rows(0, self.shape[0])

    def matrix(self) -> Float:
        """The whole weight in the model's layout, (out, in)."""
        return (
            np.ascontiguousarray(self.whole().T)
            if self.layer.operator == "matmul"
            else self.whole()
        )


def weight_of(model: ir.Model, layer: Layer) -> Weight:
    """The values of a layer of this graph."""
    tensor = model.graph.initializers[layer.weight].const_value
    assert isinstance(tensor, ir.ExternalTensor)  # `layers` found it so
    return Weight(layer, tensor)
