"""Replaces a layer's node in its graph by nodes that compute with the stored integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.onnx_graph import initializer, take_over
from nextomni_edge.bundle.quantised import FLOAT8_NAME, QUANTISED, SCALE, SMOOTHING, ZERO_POINT
from nextomni_edge.calibration.layers import Layer, reader
from nextomni_edge.calibration.workspace import StoredPart
from nextomni_edge.errors import NextOmniError

MICROSOFT: Final = "com.microsoft"
# of MatMulNBits: the input's rows are rounded to 8 bits block by block, which vector units multiply
# fastest
ACCURACY: Final = 4
FLOAT: Final = {"to": int(ir.DataType.FLOAT)}
SMALLEST: Final = np.array(1e-30, np.float32)  # of what a row of zeros is divided by
DTYPES: Final = {
    "float32": ir.DataType.FLOAT, "float16": ir.DataType.FLOAT16, "int8": ir.DataType.INT8,
    "uint8": ir.DataType.UINT8, "int4": ir.DataType.INT4, FLOAT8_NAME: ir.DataType.FLOAT8E4M3FN,
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A layer in its graph: the node that computes it, the value that multiplies the weight, and
    the stored parts."""

    layer: Layer
    decision: Decision
    node: ir.Node
    source: ir.Value
    parts: Mapping[str, ir.Value]


class Rewriter:
    """Rewrites one component's graph, whose external data is in `folder`. Layers that read one
    value share its rounding."""

    def __init__(self, model: ir.Model, folder: Path) -> None:
        self.model, self.graph, self._folder = model, model.graph, folder
        self._shared: dict[tuple[object, ...], Sequence[ir.Value]] = {}

    def replace(self, layer: Layer, decision: Decision, stored: Mapping[str, StoredPart]) -> None:
        """Make the graph compute a layer with its stored parts."""
        weight = self.graph.initializers[layer.weight]
        node, _ = reader(weight)
        if node is None:
            raise NextOmniError(f"{layer.name}: the graph's weight is read by no node any more")
        index = 0 if layer.operator == "gather" else 1
        source = node.inputs[1 - index]
        assert source is not None  # `layers` named it
        parts = {
            part: self._initializer(f"{layer.weight}.{part}", file) for part, file in stored.items()
        }
        if SMOOTHING in parts:
            (source,) = self._behind(
                source, "Mul", [source, parts[SMOOTHING]], key=stored[SMOOTHING].digest
            )
        site = Site(layer, decision, node, source, parts)
        if decision.scheme == "stored":
            node.replace_input_with(index, self._restored(site))
        elif layer.operator == "conv":
            self._convolution(site)
        else:
            take_over(self.graph, node, self._computed(site))
        _remove_unused(self.graph, weight)

    def _computed(self, site: Site) -> ir.Value:
        """The value that replaces the node's output."""
        if site.layer.operator == "gather":
            return (
                self._gathered_blocks(site)
                if site.decision.scheme == "blocks"
                else self._gathered_rows(site)
            )
        products = {
            "blocks": self._blocks, "static": self._static, "float8": self._static,
            "per_tensor": self._per_tensor, "per_token": self._per_token,
        }  # fmt: skip
        return products[site.decision.scheme](site)

    def _blocks(self, site: Site) -> ir.Value:
        rows, columns = site.layer.model_shape
        inputs = [site.source, site.parts[QUANTISED], self._scale(site), *_zero_point(site)]
        attributes = {
            "K": columns,
            "N": rows,
            "accuracy_level": ACCURACY,
            **_block_attributes(site),
        }
        return self._before(site, "MatMulNBits", inputs, attributes, MICROSOFT)

    def _gathered_blocks(self, site: Site) -> ir.Value:
        inputs = [site.parts[QUANTISED], site.source, self._scale(site), *_zero_point(site)]
        attributes = {"gather_axis": 0, "quantize_axis": 1, **_block_attributes(site)}
        return self._before(site, "GatherBlockQuantized", inputs, attributes, MICROSOFT)

    def _gathered_rows(self, site: Site) -> ir.Value:
        q = self._before(site, "Gather", [site.parts[QUANTISED], site.source], {"axis": 0})
        scale = self._before(site, "Gather", [site.parts[SCALE], site.source], {"axis": 0})
        last = self._shared_constant("last_axis", np.array([-1], np.int64))
        column = self._before(site, "Unsqueeze", [scale, last])
        return self._before(site, "Mul", [self._before(site, "Cast", [q], FLOAT), column])

    def _per_tensor(self, site: Site) -> ir.Value:
        """DynamicQuantizeLinear and MatMulInteger, both ONNX's own, in the order that ONNX Runtime
        fuses."""
        rounded, scale, zero = self._behind(site.source, "DynamicQuantizeLinear", [site.source], 3)
        scales = self._before(site, "Mul", [scale, site.parts[SCALE]])
        return self._before(site, "Mul", [self._integers(site, rounded, zero), scales])

    def _per_token(self, site: Site) -> ir.Value:
        """Round each row of the input by its own largest magnitude, so that no row's result depends
        on another row."""
        (magnitude,) = self._behind(site.source, "Abs", [site.source])
        (largest,) = self._behind(
            magnitude,
            "ReduceMax",
            [magnitude, self._shared_constant("last_axis", np.array([-1], np.int64))],
        )
        (positive,) = self._behind(
            largest, "Max", [largest, self._shared_constant("smallest", SMALLEST)]
        )
        (scale,) = self._behind(
            positive, "Div", [positive, self._shared_constant("levels", np.array(127, np.float32))]
        )
        (scaled,) = self._behind(site.source, "Div", [site.source, scale], after=scale)
        one, zero = (
            self._shared_constant("one", np.array(1, np.float32)),
            self._shared_constant("middle", np.array(128, np.uint8)),
        )
        (rounded,) = self._behind(scaled, "QuantizeLinear", [scaled, one, zero])
        by_row = self._before(site, "Mul", [self._integers(site, rounded, zero), scale])
        return self._before(site, "Mul", [by_row, site.parts[SCALE]])

    def _integers(self, site: Site, rounded: ir.Value, zero: ir.Value) -> ir.Value:
        q = self._transposed(site, site.parts[QUANTISED])
        return self._before(
            site, "Cast", [self._before(site, "MatMulInteger", [rounded, q, zero])], FLOAT
        )

    def _static(self, site: Site) -> ir.Value:
        return self._before(
            site, "MatMul", [self._rounded(site), self._transposed(site, self._dequantised(site))]
        )

    def _convolution(self, site: Site) -> None:
        """The node itself, between rounded values. ONNX Runtime fuses it into one that computes in
        integers, and needs a rounded output for that."""
        site.node.replace_input_with(0, self._rounded(site))
        site.node.replace_input_with(1, self._dequantised(site))
        whole = site.node.outputs[0]
        name, whole.name = whole.name, f"{whole.name}.unrounded"
        pair = self._pair(name, site.decision.output, "uint8")
        quantise = ir.node("QuantizeLinear", [whole, *pair])
        restore = ir.node("DequantizeLinear", [quantise.outputs[0], *pair])
        quantise.outputs[0].name, rounded = f"{name}.QuantizeLinear", restore.outputs[0]
        rounded.name, rounded.type, rounded.shape = name, whole.type, whole.shape
        ir.convenience.replace_all_uses_with(whole, rounded, replace_graph_outputs=True)
        quantise.replace_input_with(0, whole)
        self.graph.insert_after(site.node, [quantise, restore])

    def _rounded(self, site: Site) -> ir.Value:
        """A layer's input, rounded to its range."""
        dtype = FLOAT8_NAME if site.decision.scheme == "float8" else "uint8"
        pair = self._pair(site.source.name, site.decision.activation, dtype)
        (q,) = self._behind(site.source, "QuantizeLinear", [site.source, *pair])
        return self._behind(q, "DequantizeLinear", [q, *pair])[0]

    def _pair(
        self, value: str | None, activation: tuple[float, ...] | None, dtype: str
    ) -> list[ir.Value]:
        """Scale and zero point of a value, as constants. The zero point's dtype is the dtype of the
        rounded value."""
        assert activation is not None  # the manifest's check
        scale, zero = activation
        name = f"{value}.{scale!r}.{zero!r}"
        return [
            self._shared_constant(f"{name}.scale", np.array(scale, np.float32)),
            self._shared_constant(f"{name}.zero_point", np.array(zero, DTYPES[dtype].numpy())),
        ]

    def _dequantised(self, site: Site) -> ir.Value:
        """The weight in float32, computed by the runtime in each call."""
        inputs, attributes = (
            [site.parts[QUANTISED], site.parts[SCALE]],
            {"axis": 1 if site.layer.operator == "matmul" else 0},
        )
        if site.layer.operator == "einsum":
            scale = site.parts[SCALE].shape
            assert scale is not None  # `_initializer` gave it
            attributes = {"axis": 1, "block_size": site.layer.shape[1] // int(scale.numpy()[1])}
        return self._before(site, "DequantizeLinear", inputs, attributes)

    def _restored(self, site: Site) -> ir.Value:
        """The weight in float32, computed when the graph is loaded.

        A DequantizeLinear would not do: ONNX Runtime fuses it with a product into an operator that
        also rounds the other operand.
        """
        if site.decision.bits == 4:
            return self._dequantised(site)
        whole = self._before(
            site,
            "Mul",
            [self._before(site, "Cast", [site.parts[QUANTISED]], FLOAT), site.parts[SCALE]],
        )
        return whole if site.layer.operator != "linear" else self._transposed(site, whole)

    def _transposed(self, site: Site, value: ir.Value) -> ir.Value:
        """(in, out) of a weight stored (out, in), computed once when the graph is loaded."""
        return (
            value
            if site.layer.operator == "matmul"
            else self._before(site, "Transpose", [value], {"perm": [1, 0]})
        )

    def _scale(self, site: Site) -> ir.Value:
        """Scales in float32, the dtype of the product."""
        return self._before(site, "Cast", [site.parts[SCALE]], FLOAT)

    def _behind(
        self,
        source: ir.Value,
        operator: str,
        inputs: Sequence[ir.Value],
        outputs: int = 1,
        after: ir.Value | None = None,
        key: str = "",
    ) -> Sequence[ir.Value]:
        """A node right after the one that computes `after`, or `source`. It is made for the first
        layer that asks. `key` separates operands of equal content and different names."""
        asked = (source.name, operator, key or tuple(value.name for value in inputs))
        if asked not in self._shared:
            made = ir.node(operator, list(inputs), num_outputs=outputs)
            for index, value in enumerate(made.outputs):
                value.name = f"{source.name}.{operator}({len(self._shared)}.{index})"
            producer = (after or source).producer()
            if producer is None:
                self.graph.insert_before(next(iter(self.graph)), made)
            else:
                self.graph.insert_after(producer, made)
            self._shared[asked] = made.outputs
        return self._shared[asked]

    def _before(
        self,
        site: Site,
        operator: str,
        inputs: Sequence[ir.Value],
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> ir.Value:
        made = ir.node(operator, list(inputs), attributes, domain=domain)
        made.outputs[0].name = f"{site.layer.weight}.{operator}.{inputs[0].name}"
        self.graph.insert_before(site.node, made)
        if domain:
            self.model.opset_imports.setdefault(domain, 1)
        return made.outputs[0]

    def _initializer(self, name: str, stored: StoredPart) -> ir.Value:
        shape, dtype = ir.Shape(stored.shape), DTYPES[stored.dtype]
        tensor = ir.ExternalTensor(
            stored.file, 0, stored.nbytes, dtype, shape=shape, name=name, base_dir=self._folder
        )
        return initializer(self.graph, tensor)

    def _shared_constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        name = f"quantisation.{name}"
        return self.graph.initializers.get(name) or initializer(
            self.graph, ir.tensor(array, name=name)
        )


def read_back(path: Path, decisions: Mapping[str, Decision]) -> None:
    """NextOmniError: the written graph contradicts the decision for a block-quantised layer."""
    weights = ir.load(path).graph.initializers
    for weight, decision in decisions.items():
        if decision.scheme != "blocks":
            continue
        node, _ = reader(weights[f"{weight}.{QUANTISED}"])
        found = (
            {}
            if node is None
            else {name: node.attributes.get_int(name, 0) for name in ("bits", "block_size")}
        )
        if found != {"bits": decision.bits, "block_size": decision.block_size}:
            raise NextOmniError(
                f"{path}: {weight} was written with {found}, decided was {decision}"
            )


def _block_attributes(site: Site) -> dict[str, int | None]:
    return {"bits": site.decision.bits, "block_size": site.decision.block_size}


def _zero_point(site: Site) -> list[ir.Value]:
    return [site.parts[ZERO_POINT]] if ZERO_POINT in site.parts else []


def _remove_unused(graph: ir.Graph, weight: ir.Value) -> None:
    """Remove an unused weight with its cast and transposition."""
    value, between = weight, list[ir.Node]()
    while uses := list(value.uses()):
        between.append(uses[0][0])
        value = between[-1].outputs[0]
    for node in reversed(between):
        graph.remove(node, safe=True)
    del graph.initializers[weight.name or ""]
