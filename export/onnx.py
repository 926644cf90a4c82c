"""Components to ONNX. They are traced on the meta device, without weights, and then get weights in
the bundle's files."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx_ir as ir
import onnxscript.optimizer
import torch

from nextomni_edge.bundle.manifest import INLINE
from nextomni_edge.errors import InputError, NextOmniError
from nextomni_edge.export.weights import Precision, Stored, Transform, WeightStream
from nextomni_edge.models.components import Component
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec

OPSET: Final = 23  # the first with Attention and RMSNormalization
DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int64": torch.int64,
    "bool": torch.bool,
}
# All distinct and none below 2, so that no size is taken for a constant or for another; `attended`
# is past + rows.
EXAMPLE_SIZES: Final = {
    "batch": 2, "rows": 3, "past": 5, "attended": 8, "length": 3,
    "height": 4, "width": 6, "pixel_height": 64, "pixel_width": 96,
    "heard": 5, "heard_rows": 9, "frames": 7,
}  # fmt: skip


def write_component(
    component: Component,
    stream: WeightStream,
    tied: frozenset[str],
    out: Path,
    precision: Precision,
) -> None:
    """Write one component's graph to `out`, in the bundle's folder, and its weights into the
    bundle's store.

    `tied` names tensors that several components use. They are stored untransposed, so that one copy
    serves all. InputError: the checkpoint's tensors are not those of the config.
    """
    model = trace(component)
    for value in list(model.graph.initializers.values()):
        if value.name in component.weights:
            _attach_weight(
                model.graph,
                value,
                component.weights[value.name],
                stream,
                tied,
                precision,
                out.parent,
            )
        elif value.const_value is not None and value.const_value.nbytes >= INLINE:
            stored = stream.writer.add_weight(value.const_value.numpy())
            _point(
                value,
                Stored(stored, tuple(value.const_value.shape.numpy()), value.const_value.nbytes),
                out.parent,
            )
    ir.save(model, out)


def trace(component: Component) -> ir.Model:
    """The component's optimised graph. Its weights are initializers without a value, with the names
    of the module's state.

    NextOmniError: the graph differs from the spec, or holds a constant without a value.
    """
    with _quiet():
        model = _exported(component, _examples(component.spec)).model
        _hide_weights(component, model.graph)
        onnxscript.optimizer.optimize(model)
    _forget_origin(model)
    _name_dims(model.graph, component.spec)
    return model


def runnable(component: Component, weights: torch.nn.Module) -> torch.fx.GraphModule:
    """The program that a component's graph is made of, value by value under the same names, with
    the weights of the same module elsewhere than on the meta device.

    `component` is on the meta device, as where it is exported: traced elsewhere, a program has
    other values in it. NextOmniError: torch kept no program, or one with a value that is no weight.
    """
    with _quiet():
        program = _exported(component, _examples(component.spec)).exported_program
    if program is None:
        raise NextOmniError(f"{component.name}: torch kept no program")
    module: torch.fx.GraphModule = program.module(check_guards=False)
    own = [
        *weights.named_parameters(remove_duplicate=False),
        *weights.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in own:
        _replace(module, name, tensor.detach())
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_meta:
            raise NextOmniError(f"{component.name}: {name} of the program is no weight")
    for node in module.graph.nodes:
        if str(node.kwargs.get("device")) == "meta":
            node.kwargs = {**node.kwargs, "device": torch.device("cpu")}
    return module


def _replace(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put a tensor in a parameter's or buffer's place, where the program has it."""
    folder, _, leaf = name.rpartition(".")
    try:
        owner = module.get_submodule(folder)
    except AttributeError:
        return  # the program does not use it
    if leaf in owner._parameters:
        owner._parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=False)
    elif leaf in owner._buffers:
        owner._buffers[leaf] = tensor


def _exported(component: Component, inputs: tuple[torch.Tensor, ...]) -> torch.onnx.ONNXProgram:
    spec = component.spec
    program = torch.export.export(
        component.module, inputs, dynamic_shapes=free_axes(spec), strict=False
    )
    exported = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, optimize=False, verbose=False,
        input_names=[tensor.name for tensor in spec.inputs],
        output_names=[tensor.name for tensor in spec.outputs],
    )  # fmt: skip
    if exported is None:
        raise NextOmniError(f"{component.name}: torch exported nothing")
    return exported


def _hide_weights(component: Component, graph: ir.Graph) -> None:
    """Remove the weights' values, which are empty on the meta device. The optimiser does not touch
    values that it cannot read."""
    for name, value in graph.initializers.items():
        if name in component.weights:
            value.const_value = None
        elif (
            isinstance(raw := getattr(value.const_value, "raw", None), torch.Tensor) and raw.is_meta
        ):
            raise NextOmniError(
                f"{component.name}: constant {name} has no value on the meta device; compute it in"
                " forward"
            )


def _examples(spec: GraphSpec) -> tuple[torch.Tensor, ...]:
    return tuple(
        torch.empty(tensor.shape(EXAMPLE_SIZES), dtype=DTYPES[tensor.dtype], device="meta")
        for tensor in spec.inputs
    )


def free_axes(spec: GraphSpec) -> tuple[dict[int, object], ...]:
    """The axes of free size of each input. torch infers how they depend on one another, and refuses
    an axis that it finds to be fixed."""
    return tuple(
        {
            axis: torch.export.Dim.DYNAMIC
            for axis, dim in enumerate(tensor.dims)
            if isinstance(dim, Dim)
        }
        for tensor in spec.inputs
    )


def _attach_weight(
    graph: ir.Graph,
    value: ir.Value,
    name: str,
    stream: WeightStream,
    tied: frozenset[str],
    precision: Precision,
    folder: Path,
) -> None:
    """Give a weight its data: inside the graph if small, else in a file. The file holds it
    transposed and cast where the graph would do that."""
    expected, found = (
        tuple(value.shape.numpy()) if value.shape is not None else (),
        stream.checkpoint.shape(name),
    )
    if found != expected:
        raise InputError(f"tensor {name} has shape {found}, expected {expected}")
    if math.prod(expected) * 4 < INLINE:
        value.const_value = ir.tensor(stream.small(name), name=value.name)
        return
    transposition = None if name in tied else _only_transposed(value)
    stored = stream.store(name, Transform(precision, transpose=transposition is not None))
    if transposition is not None:
        transposition.outputs[0].replace_all_uses_with(value)
        graph.remove(transposition, safe=True)
    if precision == "float16":
        _cast_to_float32(graph, value)
    _point(value, stored, folder)


def _only_transposed(value: ir.Value) -> ir.Node | None:
    """The Transpose that is the only use of a matrix, or None."""
    users = [node for node, _ in value.uses()]
    if len(users) != 1 or users[0].op_type != "Transpose" or users[0].outputs[0].is_graph_output():
        return None
    permutation = users[0].attributes.get("perm")
    return users[0] if permutation is not None and tuple(permutation.as_ints()) == (1, 0) else None


def _cast_to_float32(graph: ir.Graph, value: ir.Value) -> None:
    """Store the weight in float16. The computation stays in float32."""
    uses = list(value.uses())
    cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT})
    cast.outputs[0].name = f"{value.name}.float32"
    for node, index in uses:
        node.replace_input_with(index, cast.outputs[0])
    graph.insert_before(next(iter(graph)), cast)
    value.dtype = ir.DataType.FLOAT16


def _point(value: ir.Value, stored: Stored, folder: Path) -> None:
    """Make a file of the bundle the data of an initializer."""
    if value.dtype is None or value.name is None:
        raise NextOmniError(f"initializer {value.name} has no dtype")
    shape = ir.Shape(stored.shape)
    value.const_value = ir.ExternalTensor(
        stored.file, 0, stored.nbytes, value.dtype, shape=shape, name=value.name, base_dir=folder
    )  # fmt: skip
    value.shape = shape


def _forget_origin(model: ir.Model) -> None:
    """Remove stack traces, which name files of the exporting machine, and shapes inside the graph,
    which a runtime infers."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
    ends = {*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()}
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in ends:
                value.shape = value.type = None
    for value in ends:
        value.metadata_props.clear()


def _name_dims(graph: ir.Graph, spec: GraphSpec) -> None:
    """Give the free sizes of inputs and outputs the spec's names. NextOmniError: the graph's shape
    differs from the spec's."""
    for values, tensors in ((graph.inputs, spec.inputs), (graph.outputs, spec.outputs)):
        for value, tensor in zip(values, tensors, strict=True):
            value.shape = _named(value, tensor, spec.name)


def _named(value: ir.Value, tensor: TensorSpec, component: str) -> ir.Shape:
    found = list(value.shape) if value.shape is not None else []
    wanted = [dim.name if isinstance(dim, Dim) else dim for dim in tensor.dims]
    fits = len(found) == len(wanted) and all(
        size == dim if isinstance(dim, int) else not isinstance(size, int)
        for size, dim in zip(found, wanted, strict=True)
    )
    if value.name != tensor.name or not fits:
        raise NextOmniError(
            f"{component}: traced {value.name} {found}, expected {tensor.name} {wanted}"
        )
    return ir.Shape(wanted)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks; its errors are exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
