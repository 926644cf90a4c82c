"""A quantised component that also gives its layers' inputs: a copy of its graph, loaded by the
bundle's own runtime.

Two computations of one network differ in the last bits of a value. Where the value is on the border
of two integers, rounding turns that into a whole step, and the later layers into many. So the
reference reads the runtime's layer inputs, after its own have proven equal up to the last bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import onnx_ir as ir

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.onnx_graph import folder_next_to, load_graph, save_next_to_weights, tap
from nextomni_edge.bundle.quantised import QUANTISED
from nextomni_edge.errors import InputError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Session, runtime
from nextomni_edge.spec import Dim, TensorSpec
from nextomni_edge.verify.components import INPUT_OF, OUTPUT_OF

PRODUCTS: Final = ("MatMulNBits", "MatMulInteger", "MatMul", "Conv")


def recorder(bundle: Bundle, component: str, widths: Mapping[str, int]) -> Session:
    """A session over a component that also gives two kinds of values. `INPUT_OF` each of the
    quantised weights in `widths`: the layer's input before any smoothing, (rows, width) float32.
    `OUTPUT_OF` each convolution: its rounded output, with width 1.

    InputError: the graph has no product with such a weight.
    """
    record = bundle.manifest.components[component]
    model = load_graph(bundle, component)
    more: list[TensorSpec] = []
    for weight, width in widths.items():
        product = _product(model.graph, weight, f"{bundle.component_file(component)}: {weight}")
        found = {INPUT_OF + weight: _source(product)}
        if product.op_type == "Conv":
            found[OUTPUT_OF + weight] = _rounded(product)
        for name, value in found.items():
            tap(model.graph, name, value, (-1, width))
            more.append(
                TensorSpec(name, "float32", (Dim(f"recorded_{len(more)}", 0, 2**40), width))
            )
    spec = graph_specs(bundle.config)[component]
    with folder_next_to(bundle) as folder:
        save_next_to_weights(bundle, model, folder / record.file)
        loaded = runtime(record.format)
        return loaded.load(
            component, folder / record.file, replace(spec, outputs=(*spec.outputs, *more))
        )


def _product(graph: ir.Graph, weight: str, where: str) -> ir.Node:
    """The node that multiplies with a layer's weight."""
    value: ir.Value | None = graph.initializers.get(f"{weight}.{QUANTISED}")
    while value is not None and (uses := list(value.uses())) and uses[0][0].op_type not in PRODUCTS:
        value = uses[0][0].outputs[0]
    if value is None or not list(value.uses()) or next(iter(value.uses()))[0].inputs[0] is None:
        raise InputError(
            f"{where}: no product with this weight in the graph, which the manifest says is"
            " quantised"
        )
    return next(iter(value.uses()))[0]


def _source(product: ir.Node) -> ir.Value:
    """The input of a layer, found from its product back through rounding and smoothing."""
    source = product.inputs[0]
    while (
        source is not None
        and (producer := source.producer()) is not None
        and _belongs_to_layer(producer)
    ):
        source = producer.inputs[0]
    assert source is not None  # `_product` looked
    return source


def _rounded(product: ir.Node) -> ir.Value:
    """The output of a static convolution, after its QuantizeLinear and DequantizeLinear."""
    value = product.outputs[0]
    for operator in ("QuantizeLinear", "DequantizeLinear"):
        uses = list(value.uses())
        if len(uses) == 1 and uses[0][0].op_type == operator:
            value = uses[0][0].outputs[0]
    return value


def _belongs_to_layer(node: ir.Node) -> bool:
    """Whether a node rounds or smooths a value for a product. Such nodes are named after the value
    and the operator."""
    return (node.outputs[0].name or "").startswith(
        f"{node.inputs[0].name if node.inputs[0] else ''}.{node.op_type}("
    )
