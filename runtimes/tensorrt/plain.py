"""A graph in the operators of opset 20, for TensorRT before 10.14: its parser knows no later ones.

Three operators are written out in plain ones: Attention and RMSNormalization (opset 23), and
GroupNormalization as opset 21 has it. ONNX Runtime computes both forms alike, which a test shows.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from nextomni_edge.bundle.onnx_graph import take_over
from nextomni_edge.errors import InputError
from nextomni_edge.runtimes.tensorrt.network import FLOAT32
from nextomni_edge.runtimes.tensorrt.rewriting import Rewriting, Rule

OPSET: Final = 20
BLOCKS: Final = 21  # the opset of DequantizeLinear in blocks, which TensorRT 10.3 reads as well
# A score that the softmax makes 0. Where a row sees nothing, minus infinity would give NaN.
HIDDEN: Final = float(np.finfo(np.float32).min)


def write_out(model: ir.Model, component: str) -> None:
    """Bring a graph into this form, in place. InputError: an attention that has no such form."""
    ShapeInferencePass()(model)  # a graph names the sizes of its inputs and outputs only
    form = _Form(model.graph, component)
    form.apply(form.rules)
    blocks = any("block_size" in node.attributes for node in model.graph)
    model.opset_imports[""] = BLOCKS if blocks else OPSET


class _Form(Rewriting):
    """One graph in conversion. `rules` rewrite the nodes of a type in place."""

    def __init__(self, graph: ir.Graph, component: str) -> None:
        super().__init__(graph)
        self.component = component
        self.rules: dict[str, Rule] = {
            "Attention": self._attention, "RMSNormalization": self._rms_norm,
            "GroupNormalization": self._group_norm,
        }  # fmt: skip

    def _attention(self, node: ir.Node) -> None:
        """softmax(scale · q kᵀ, masked) v of q (B,heads,n,d), k and v (B,kv_heads,m,d). Grouped
        keys get an axis of their group, (B,kv_heads,1,m,d)."""
        query, key, value = node.inputs[:3]
        mask = node.inputs[3] if len(node.inputs) > 3 else None
        heads, size = _fixed(query, 1), _fixed(query, 3)
        kv_heads, width = _fixed(key, 1), _fixed(value, 3)
        if node.attributes.get_float("softcap", 0.0) or None in (heads, size, kv_heads, width):
            raise InputError(
                f"{self.component}: {node.name}: attention with a softcap, or with heads of free"
                " size, has no form for TensorRT before 10.14; compile with 10.14 or newer"
            )
        assert heads and size and kv_heads and width
        grouped, added = heads != kv_heads, mask is not None and mask.dtype != ir.DataType.BOOL
        if grouped:
            query = self._reshaped(node, query, (0, kv_heads, heads // kv_heads, -1, size))
            key, value = (self._unsqueezed(node, each, (2,)) for each in (key, value))
            mask = self._unsqueezed(node, mask, (2,)) if mask is not None else None
        axes = [0, 1, 2, 4, 3] if grouped else [0, 1, 3, 2]
        turned = self.before(node, "Transpose", [key], {"perm": axes})
        scale = node.attributes.get_float("scale", 0.0) or 1 / math.sqrt(size)
        number = self.constant(f"attention.scale.{scale:g}", np.array(scale, np.float32))
        scaled = self.before(node, "Mul", [query, number])
        scores = self._product(node, scaled, turned, "scores")
        if mask is not None and added:
            scores = self.before(node, "Add", [scores, mask])
        elif mask is not None:
            scores = self._masked(node, scores, mask)
        if node.attributes.get_int("is_causal", 0):
            scores = self._masked(node, scores, self._causal(node, scores))
        weights = self.before(node, "Softmax", [scores], {"axis": -1})
        attended = self._product(node, weights, value, "values")
        if grouped:
            attended = self._reshaped(node, attended, (0, heads, -1, width))
        take_over(self.graph, node, attended)

    def _product(
        self, node: ir.Node, left: ir.Value | None, right: ir.Value | None, what: str
    ) -> ir.Value:
        """A product that stays in float32, as a fused attention does."""
        return self.before(node, "MatMul", [left, right], name=f"{node.name}.{what}{FLOAT32}")

    def _masked(self, node: ir.Node, scores: ir.Value, seen: ir.Value) -> ir.Value:
        """The scores of what is seen (…,n,m) bool."""
        hidden = self.constant("attention.hidden", np.array(HIDDEN, np.float32))
        return self.before(node, "Where", [seen, scores, hidden])

    def _causal(self, node: ir.Node, scores: ir.Value) -> ir.Value:
        """That column j comes at or before row i, (n,m) bool."""
        one, zero = (self.constant(f"attention.{n}", np.array(n, np.int64)) for n in (1, 0))
        places = []
        for axis in (-2, -1):
            end = None if axis == -1 else axis + 1
            found = {"start": axis} | ({} if end is None else {"end": end})
            length = self._squeezed(node, self.before(node, "Shape", [scores], found))
            places.append(self.before(node, "Range", [zero, length, one]))
        rows = self._unsqueezed(node, places[0], (1,))
        columns = self._unsqueezed(node, places[1], (0,))
        return self.before(node, "LessOrEqual", [columns, rows])

    def _rms_norm(self, node: ir.Node) -> None:
        """x / √(mean(x²) + ε) · weight, over the last axis."""
        x, weight = node.inputs
        squares = self.before(node, "Mul", [x, x])
        divided = self._divided(node, x, squares)
        take_over(self.graph, node, self.before(node, "Mul", [divided, weight]))

    def _group_norm(self, node: ir.Node) -> None:
        """(x − mean) / √(variance + ε) of each group of channels of x (N,C,…), times weight (C) and
        plus bias (C)."""
        x, weight, bias = node.inputs
        assert x is not None and x.shape is not None
        groups = node.attributes.get_int("num_groups", 1)
        flat = self._reshaped(node, x, (0, groups, -1))
        centred = self.before(node, "Sub", [flat, self._mean(node, flat)])
        divided = self._divided(node, centred, self.before(node, "Mul", [centred, centred]))
        shape = self.before(node, "Shape", [x])
        normed = self.before(node, "Reshape", [divided, shape])
        axes = tuple(range(1, len(x.shape) - 1))
        weight, bias = (self._unsqueezed(node, each, axes) for each in (weight, bias))
        scaled = self.before(node, "Mul", [normed, weight])
        take_over(self.graph, node, self.before(node, "Add", [scaled, bias]))

    def _divided(self, node: ir.Node, x: ir.Value | None, squares: ir.Value) -> ir.Value:
        """x / √(mean(squares) + ε), over the last axis."""
        number = node.attributes.get_float("epsilon", 1e-5)
        epsilon = self.constant(f"norm.epsilon.{number:g}", np.array(number, np.float32))
        raised = self.before(node, "Add", [self._mean(node, squares), epsilon])
        return self.before(node, "Div", [x, self.before(node, "Sqrt", [raised])])

    def _mean(self, node: ir.Node, x: ir.Value) -> ir.Value:
        last = self._integers((-1,))
        return self.before(node, "ReduceMean", [x, last], {"keepdims": 1})

    def _reshaped(self, node: ir.Node, x: ir.Value | None, sizes: tuple[int, ...]) -> ir.Value:
        return self.before(node, "Reshape", [x, self._integers(sizes)])

    def _unsqueezed(self, node: ir.Node, x: ir.Value | None, axes: tuple[int, ...]) -> ir.Value:
        return self.before(node, "Unsqueeze", [x, self._integers(axes)])

    def _squeezed(self, node: ir.Node, x: ir.Value) -> ir.Value:
        return self.before(node, "Squeeze", [x, self._integers((0,))])

    def _integers(self, numbers: tuple[int, ...]) -> ir.Value:
        name = f"integers.{'.'.join(map(str, numbers))}"
        return self.constant(name, np.array(numbers, np.int64))


def _fixed(value: ir.Value | None, axis: int) -> int | None:
    """The size of an axis, None where it is free or unknown."""
    assert value is not None
    size = value.shape[axis] if value.shape is not None else None
    return size if isinstance(size, int) else None
