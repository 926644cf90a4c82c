"""Where a graph leaves PyTorch: every value inside a component, computed by both, in the order of
the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.onnx_graph import (
    folder_next_to,
    initializer,
    load_graph,
    save_next_to_weights,
)
from nextomni_edge.errors import UsageError
from nextomni_edge.export.onnx import EXAMPLE_SIZES, runnable
from nextomni_edge.graphs import graph_specs
from nextomni_edge.models import networks
from nextomni_edge.models.components import Component, components
from nextomni_edge.runtimes.base import Session, runtime
from nextomni_edge.spec import Dim, TensorSpec
from nextomni_edge.verify.cases import cases, draw
from nextomni_edge.verify.comparison import LIMIT, error, limit, within
from nextomni_edge.verify.reference import round_to_float16

Array = NDArray[Any]
Values = dict[str, Array]

DTYPES: Final = ("float32", "int64", "bool")
# No activation is as large. Masks hold −infinity or float32's lowest number; a session refuses
# infinities, and the error of what stands next to them would vanish in their scale.
BEYOND: Final = 1e29
# Before a value's name, of two outputs that a copy of the graph gives for it.
VALUE, SHAPE = "value_of.", "shape_of."


def first_divergence(bundle: Bundle, model_dir: Path, component: str) -> str | None:
    """The first value that the component's graph, in the default runtime of its format, computes
    otherwise than PyTorch; None where its outputs are the same.

    The first of `verify`'s cases counts in which an output is beyond the component's limit; there,
    the first value in the graph's order that differs by more than `comparison.LIMIT`. (Where the
    outputs agree, inner values need not: the phase of a silent frequency is rounding.) Values bear
    the names of the traced program, and are compared where both have one of this name and shape.
    All weights of the component are held in memory twice. UsageError: the bundle has no such
    component, or one that is not followed value by value. NextOmniError: the graph cannot be run
    with its values as outputs.
    """
    _check_followed(bundle, component)
    model = networks.load(model_dir)
    if bundle.manifest.components[component].precision == "float16":
        round_to_float16(model)
    part = components(model)[component]
    values = _in_pytorch(part, bundle)
    graph = load_graph(bundle, component)
    _, example = next(_inputs(bundle, component))
    order = [
        (str(output.name), node.op_type)
        for node in graph.graph
        for output in node.outputs
        if output.name
    ]
    inside = {
        name: value
        for name, value in values(example).items()
        if name in dict(order) and value.dtype.name in DTYPES
    }
    with folder_next_to(bundle) as folder:
        session = _in_runtime(bundle, component, graph, inside, folder)
        tapped = {kind + name for kind in (VALUE, SHAPE) for name in inside}
        own = [tensor.name for tensor in part.spec.outputs if tensor.name in inside]
        for case, inputs in _inputs(bundle, component):
            # the component's own outputs are not asked for: a session refuses NaN in those
            found, expected = session.run(inputs, tapped), values(inputs)
            if not any(_difference(found, expected, name, limit(component)) for name in own):
                continue
            for name, operator in order:
                if name in inside and (how := _difference(found, expected, name, LIMIT)):
                    return f"{component}: {name} ({operator}) {how} ({case})"
    return None


def _check_followed(bundle: Bundle, component: str) -> None:
    """UsageError: the bundle has no such component, or its values are not PyTorch's own."""
    record = bundle.manifest.components.get(component)
    if record is None:
        raise UsageError(f"{component}: the bundle has no such component")
    if not record.stored_as.onnx:
        raise UsageError(
            f"{component}: only ONNX graphs are followed value by value, not {record.format}"
        )
    if record.quantisation:
        raise UsageError(
            f"{component}: its layers are quantised; the comparison itself names the first layer"
            " whose input differs, and values between layers are not followed"
        )


def _inputs(bundle: Bundle, component: str) -> Iterator[tuple[str, Values]]:
    """(name, inputs): the sizes of the trace first, then those of `verify`."""
    generator, spec = np.random.default_rng(0), graph_specs(bundle.config)[component]
    example = {
        tensor.name: draw(tensor, EXAMPLE_SIZES, component, bundle.config, generator)
        for tensor in spec.inputs
    }
    yield "sizes of the trace", example
    yield from cases(spec, bundle.config)


class _Recorder(torch.fx.Interpreter):
    """Runs a program and keeps what every node gave."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.values: Values = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, torch.Tensor):
            self.values[n.name] = value.numpy().copy()
        return value


def _in_pytorch(part: Component, bundle: Bundle) -> Callable[[Mapping[str, Array]], Values]:
    """inputs → every value of the traced program, and the outputs under their wire names."""
    with torch.device("meta"):
        on_meta = components(networks.build(bundle.config).eval())[part.name]
    program = runnable(on_meta, part.module)

    def values(inputs: Mapping[str, Array]) -> Values:
        recorder = _Recorder(program)
        with torch.inference_mode():
            result = recorder.run(
                *(torch.tensor(inputs[tensor.name]) for tensor in part.spec.inputs)
            )
        outputs = result if isinstance(result, tuple) else (result,)
        named = zip(part.spec.outputs, outputs, strict=True)
        return recorder.values | {tensor.name: value.numpy() for tensor, value in named}

    return values


def _in_runtime(
    bundle: Bundle, component: str, model: ir.Model, inside: Values, folder: Path
) -> Session:
    """A session over a copy of the graph that also gives, flat and with their shapes, the values of
    these names. Their ranks stay unsaid: a runtime would take them for promises."""
    spec, more = graph_specs(bundle.config)[component], list[TensorSpec]()
    own = {
        output.name: output
        for node in model.graph
        for output in node.outputs
        if output.name in inside
    }
    for name, value in own.items():
        _give(model.graph, value, str(name))
        length, rank = (Dim(f"{kind}_{len(more)}", 0, 2**40) for kind in ("values", "axes"))
        more += [
            TensorSpec(f"{VALUE}{name}", "float32", (length,)),
            TensorSpec(f"{SHAPE}{name}", "int64", (rank,)),
        ]
    record = bundle.manifest.components[component]
    save_next_to_weights(bundle, model, folder / record.file)
    return runtime(record.format).load(
        component, folder / record.file, replace(spec, outputs=(*spec.outputs, *more))
    )


def _give(graph: ir.Graph, value: ir.Value, name: str) -> None:
    """Two more outputs: the value as float32 in one row, `BEYOND` where it is no finite number of
    use, and its shape."""
    flat = initializer(graph, ir.tensor(np.array([-1], np.int64), name=f"{VALUE}{name}.flat"))
    beyond = initializer(
        graph, ir.tensor(np.array([BEYOND], np.float32), name=f"{VALUE}{name}.beyond")
    )
    cast = _then(graph, "Cast", [value], to=ir.DataType.FLOAT)
    row = _then(graph, "Reshape", [cast, flat])
    within_use = _then(graph, "Less", [_then(graph, "Abs", [row]), beyond])  # False of NaN too
    outputs = (
        (VALUE, _then(graph, "Where", [within_use, row, beyond]), ir.DataType.FLOAT),
        (SHAPE, _then(graph, "Shape", [value]), ir.DataType.INT64),
    )
    for kind, output, dtype in outputs:
        output.name, output.type = f"{kind}{name}", ir.TensorType(dtype)
        output.shape = ir.Shape([None])
        graph.outputs.append(output)


def _then(graph: ir.Graph, operator: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
    node = ir.node(operator, inputs, attributes=attributes or None)
    graph.append(node)
    return node.outputs[0]


def _difference(
    found: Mapping[str, Array], expected: Mapping[str, Array], name: str, allowed: float
) -> str | None:
    """How a value differs; None where it does not, or where the program's value of this name is of
    another shape, so of something else."""
    if tuple(found[SHAPE + name]) != expected[name].shape:
        return None
    ours, theirs = found[VALUE + name], expected[name].reshape(-1).astype(np.float32)
    usable = np.abs(theirs) < BEYOND
    if ((ours < BEYOND) & ~usable).any():
        return "is finite where PyTorch masks"
    if ((ours >= BEYOND) & usable).any():
        return "is not finite where PyTorch is"
    measured = error(np.where(usable, ours, 0.0), np.where(usable, theirs, 0.0))
    return None if within(measured, allowed) else f"differs by {measured:.3g} of its scale"
