"""A bundle's ONNX graph, taken out, changed, and put where a runtime reads it: next to the bundle's
own weights."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError
from nextomni_edge.files import link_or_copy


class Weight(ir.ExternalTensor):
    """A weight in a bundle's file. The bundle was checked when it was opened. onnx-ir's own check
    refuses a file with two names, which `save_next_to_weights` gives it for a while, as backups
    and caches do."""

    def _check_path_containment(self) -> None:
        """Nothing."""


def load_graph(bundle: Bundle, component: str) -> ir.Model:
    """A component's graph; weights stay in their files. InputError: it cannot be read."""
    path = bundle.component_file(component)
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf's and onnx-ir's exceptions share no base but Exception
        raise InputError(f"{path}: onnx-ir cannot read the graph ({error})") from error
    for value in model.graph.initializers.values():
        found = value.const_value
        if isinstance(found, ir.ExternalTensor):
            value.const_value = Weight(
                found.location, found.offset, found.length, found.dtype, shape=found.shape,
                name=found.name or "", doc_string=found.doc_string,
                metadata_props=found.metadata_props, base_dir=found.base_dir,
            )  # fmt: skip
    return model


def initializer(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """A new initializer of a graph, under the tensor's name."""
    value = ir.Value(
        name=tensor.name,
        shape=ir.Shape(tensor.shape.numpy()),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def tap(graph: ir.Graph, name: str, value: ir.Value, shape: tuple[int, ...]) -> None:
    """Give the graph another float32 output `name`: a value in `shape` (-1 and 0 as in ONNX's
    Reshape).

    The reshape gives the output a known rank.
    """
    wanted = initializer(graph, ir.tensor(np.array(shape, np.int64), name=f"{name}.shape"))
    node = ir.node("Reshape", [value, wanted])
    output = node.outputs[0]
    output.name, output.type = name, ir.TensorType(ir.DataType.FLOAT)
    output.shape = ir.Shape([size if size > 0 else None for size in shape])
    graph.append(node)
    graph.outputs.append(output)


def take_over(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Replace a node by `value`, which takes the name of the node's output."""
    old = node.outputs[0]
    value.name, value.type, value.shape, old.name = old.name, old.type, old.shape, None
    ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


@contextlib.contextmanager
def folder_next_to(bundle: Bundle) -> Iterator[Path]:
    """A temporary folder on the bundle's file system, which can hold links to its weights. It is in
    the system's own place where the bundle's place cannot be written."""
    parent = bundle.path.parent if os.access(bundle.path.parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent, prefix=".nextomni-edge-") as name:
        yield Path(name)


def save_next_to_weights(bundle: Bundle, model: ir.Model, path: Path) -> None:
    """Write a graph, and link the bundle's weights into its folder: a runtime reads no file outside
    of it."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            source, link = bundle.path / tensor.location, path.parent / tensor.location
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(source, link)
    ir.save(model, path)
