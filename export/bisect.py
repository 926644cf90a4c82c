"""Where a graph departs from PyTorch: every value inside a component, in both, in order of
computation."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import NextOmniError, UsageError
from nextomni_edge.export.onnx import EXAMPLE_SIZES, decomposed
from nextomni_edge.graphs import graph_specs
from nextomni_edge.models import networks
from nextomni_edge.models.components import components
from nextomni_edge.runtimes.base import runtime
from nextomni_edge.spec import TensorSpec
from nextomni_edge.verify.cases import draw
from nextomni_edge.verify.comparison import LIMIT, error, within

Values = dict[str, NDArray[Any]]
DTYPES = ("float32", "int64", "bool")


def first_divergence(bundle: Bundle, model_dir: Path, component: str) -> str | None:
    """The first value for which the component's graph, in its runtime, differs from PyTorch; None
    if there is none.

    Values have the names of the traced program. All weights of the component are in memory twice.
    UsageError: the bundle has no such component. NextOmniError: the graph cannot run with its
    values as outputs.
    """
    if component not in bundle.manifest.components:
        raise UsageError(f"{component}: the bundle has no such component")
    if (kind := bundle.manifest.components[component].format) != "onnx":
        raise UsageError(
            f"{component}: {kind} is not followed value by value, ONNX graphs alone are; leave"
            " --bisect out"
        )
    generator = np.random.default_rng(0)
    spec = graph_specs(bundle.config)[component]
    inputs = {
        tensor.name: draw(tensor, EXAMPLE_SIZES, component, bundle.config, generator)
        for tensor in spec.inputs
    }
    expected = _in_pytorch(model_dir, component, inputs)
    graph = onnx.load(bundle.component_file(component))
    order = [(name, node.op_type) for node in graph.graph.node for name in node.output]
    wanted = {
        name: expected[name]
        for name, _ in order
        if name in expected and expected[name].dtype.name in DTYPES
    }
    found = _in_runtime(bundle, component, graph, inputs, wanted)
    for name, operator in order:
        if name in wanted and not within(measured := error(found[name], wanted[name]), LIMIT):
            return f"{component}: {name} ({operator}) differs by {measured:.3g} of its scale"
    return None


class _Recorder(torch.fx.Interpreter):
    """Runs a program and keeps the result of every node."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.values: Values = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, torch.Tensor):
            self.values[n.name] = value.numpy().copy()
        return value


def _in_pytorch(model_dir: Path, component: str, inputs: Mapping[str, NDArray[Any]]) -> Values:
    """Every value of the traced program, and the outputs under the graph's names."""
    part = components(networks.load(model_dir))[component]
    tensors = tuple(torch.tensor(inputs[tensor.name]) for tensor in part.spec.inputs)
    with torch.inference_mode():
        recorder = _Recorder(decomposed(part, tensors))
        result = recorder.run(*tensors)
    outputs = result if isinstance(result, tuple) else (result,)
    named = {
        tensor.name: value.numpy() for tensor, value in zip(part.spec.outputs, outputs, strict=True)
    }
    return recorder.values | named


def _in_runtime(
    bundle: Bundle,
    component: str,
    graph: onnx.ModelProto,
    inputs: Mapping[str, NDArray[Any]],
    wanted: Values,
) -> Values:
    """The same values from the graph. The bundle's own runtime loads a copy that gives them as
    outputs."""
    spec = graph_specs(bundle.config)[component]
    inside = {
        name: value
        for name, value in wanted.items()
        if name not in {tensor.name for tensor in spec.outputs}
    }
    for name, value in inside.items():
        element = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.graph.output.append(
            onnx.helper.make_tensor_value_info(name, element, list(value.shape))
        )
    more = tuple(TensorSpec(name, value.dtype.name, value.shape) for name, value in inside.items())  # type: ignore[arg-type]
    try:
        content = graph.SerializeToString()
    except ValueError as failure:
        raise NextOmniError(
            f"{component}: too large to be bisected in one file ({failure})"
        ) from failure
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{component}.onnx"
        file.write_bytes(content)
        loaded = runtime(bundle.manifest.components[component].format)
        session = loaded.load(component, file, replace(spec, outputs=(*spec.outputs, *more)))
        return session.run(inputs)
