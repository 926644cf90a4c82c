"""A quantised component that also gives what its layers read: a copy of its graph, loaded by the bundle's own runtime.

Two computations of one network differ in the last bits of a value; where it lies on the border of two integers, rounding makes a
whole step of that, and the layers behind it many. A reference that is to be held against the runtime within float32's accuracy is
therefore given the runtime's layer inputs, after its own were found to be the same but for the last bits.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import WEIGHTS
from nextomni_edge.bundle.quantised import QUANTISED
from nextomni_edge.errors import InputError
from nextomni_edge.files import link_or_copy
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Session, runtime
from nextomni_edge.spec import Dim, TensorSpec
from nextomni_edge.verify.components import INPUT_OF, OUTPUT_OF

PRODUCTS: Final = ("MatMulNBits", "MatMulInteger", "MatMul", "Conv")


def recorder(bundle: Bundle, component: str, widths: Mapping[str, int]) -> Session:
    """A session over a component that gives, beside its own outputs, `INPUT_OF` each of the quantised weights in `widths`: what the
    layer reads, before any smoothing, (rows, width) float32; and `OUTPUT_OF` each convolution: its rounded output, of width 1 as
    its input then is.

    InputError: the graph has no product with such a weight.
    """
    record = bundle.manifest.components[component]
    model = ir.load(bundle.component_file(component))
    more: list[TensorSpec] = []
    for weight, width in widths.items():
        product = _product(model.graph, weight, f"{bundle.component_file(component)}: {weight}")
        found = {INPUT_OF + weight: _source(product)}
        if product.op_type == "Conv":
            found[OUTPUT_OF + weight] = _rounded(product)
        for name, value in found.items():
            _expose(model.graph, name, value, width)
            more.append(TensorSpec(name, "float32", (Dim(f"recorded_{len(more)}", 0, 2**40), width)))
    spec = graph_specs(bundle.config)[component]
    with _beside_weights(bundle, model) as folder:
        ir.save(model, folder / record.file)
        loaded = runtime(record.format)
        return loaded.load(component, folder / record.file, replace(spec, outputs=(*spec.outputs, *more)))


def _expose(graph: ir.Graph, name: str, value: ir.Value, width: int) -> None:
    """Give the graph an output with a value, flattened to rows."""
    shape = ir.tensor(np.array([-1, width], np.int64), name=f"{name}.shape")
    flat = ir.Value(name=shape.name, shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.INT64), const_value=shape)
    graph.register_initializer(flat)
    made = ir.node("Reshape", [value, flat])
    made.outputs[0].name = name
    made.outputs[0].type, made.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([None, width])
    graph.append(made)
    graph.outputs.append(made.outputs[0])


def _product(graph: ir.Graph, weight: str, where: str) -> ir.Node:
    """The node that multiplies with a layer's weight."""
    value: ir.Value | None = graph.initializers.get(f"{weight}.{QUANTISED}")
    while value is not None and (uses := list(value.uses())) and uses[0][0].op_type not in PRODUCTS:
        value = uses[0][0].outputs[0]
    if value is None or not list(value.uses()) or next(iter(value.uses()))[0].inputs[0] is None:
        raise InputError(f"{where}: no product with this weight in the graph, which the manifest says is quantised")
    return next(iter(value.uses()))[0]


def _source(product: ir.Node) -> ir.Value:
    """The value that a layer reads: back from its product through rounding and smoothing."""
    source = product.inputs[0]
    while source is not None and (producer := source.producer()) is not None and _belongs_to_layer(producer):
        source = producer.inputs[0]
    assert source is not None  # `_product` looked
    return source


def _rounded(product: ir.Node) -> ir.Value:
    """What a static convolution gives: behind its QuantizeLinear and DequantizeLinear."""
    value = product.outputs[0]
    for operator in ("QuantizeLinear", "DequantizeLinear"):
        uses = list(value.uses())
        if len(uses) == 1 and uses[0][0].op_type == operator:
            value = uses[0][0].outputs[0]
    return value


def _belongs_to_layer(node: ir.Node) -> bool:
    """Whether a node rounds or smooths a value for a product: such are named after the value and the operator."""
    return (node.outputs[0].name or "").startswith(f"{node.inputs[0].name if node.inputs[0] else ''}.{node.op_type}(")


@contextlib.contextmanager
def _beside_weights(bundle: Bundle, model: ir.Model) -> Iterator[Path]:
    """A folder that holds the graph's weights under the bundle's names: a runtime reads no file outside the graph's folder."""
    with tempfile.TemporaryDirectory(dir=_place(bundle)) as name:
        folder = Path(name)
        (folder / WEIGHTS).mkdir()
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and not (folder / tensor.location).exists():
                link_or_copy(bundle.path / tensor.location, folder / tensor.location)
        yield folder


def _place(bundle: Bundle) -> Path | None:
    """Beside the bundle, where links into it can stand; None, the system's own place, where nothing can be written there."""
    return bundle.path.parent if os.access(bundle.path.parent, os.W_OK) else None
