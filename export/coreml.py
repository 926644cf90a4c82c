"""Components to Core ML packages: ML Programs for iOS 18 and macOS 15, converted here, run on Apple's systems alone.

What the converter does wrong without a word is spelled out in the program instead: grouped keys (it tiles them, so that query
heads meet another head's keys) and RMSNorm (it adds epsilon after a division by the maximum).

Row counts are free, within the spec's bounds. For the Neural Engine they would have to be enumerated or fixed: of a range it runs
the default shape alone, of an enumeration every shape (an engineer of Apple's, developer.apple.com/forums/thread/724930;
coremltools' guide, "Flexible Input Shapes"). Core ML has no size 0: `past` is at least 1, and the runtime masks it.

Keys and values are inputs and outputs, never a state: a state has a fixed shape and one writer, while the cache policies keep any
rows of any branch, in any order, and without one nothing is kept at all.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nextomni_edge.bundle import BundleWriter, ComponentRecord, Decision
from nextomni_edge.bundle.coreml_package import MODEL, WEIGHTS, bounds, package_index
from nextomni_edge.bundle.manifest import PACKAGE, PACKAGE_INDEX
from nextomni_edge.errors import InputError, NextOmniError
from nextomni_edge.export.coreml_chunks import cut
from nextomni_edge.export.onnx import DTYPES, EXAMPLE_SIZES, free_axes
from nextomni_edge.export.weights import Precision
from nextomni_edge.models.components import Component
from nextomni_edge.spec import GraphSpec

logging.getLogger("coremltools").setLevel(logging.ERROR)  # on import it warns of what only a Mac has
import coremltools  # noqa: E402

from nextomni_edge.export.coreml_weights import Compression, Like  # noqa: E402

PRECISIONS: Final = {"float32": coremltools.precision.FLOAT32, "float16": coremltools.precision.FLOAT16}


def write_component(
    component: Component, writer: BundleWriter, precision: Precision, like: Like | None = None, chunk_mib: int | None = None
) -> ComponentRecord:
    """Write one component, whose module holds its weights, as a package of the bundle; its layers compressed as `like` has them.

    A backbone over `chunk_mib` becomes several. `precision` is of weights and arithmetic; what crosses the border stays float32.
    NextOmniError: the program is not the spec's. InputError: `like` has other layers. UsageError: a layer over `chunk_mib`.
    """
    planned = {weight: decision for weight, (decision, _) in like.layers(component.name).items()} if like else {}
    sizes = {weight: decision.bytes for weight, decision in planned.items()}
    decisions: dict[str, Decision] = {}
    for index, part in enumerate(cut(component, chunk_mib, np.dtype(precision).itemsize, sizes), 1):
        package = f"{component.name}{PACKAGE}" if index == 1 else f"{component.name}.{index}{PACKAGE}"
        decisions |= _write_package(part, package, writer, precision, like)
    for weight in sorted(planned.keys() - decisions.keys()):
        raise InputError(f"the quantised bundle has a layer {weight!r} in {component.name}, which the model has not")
    return ComponentRecord("coreml", f"{component.name}{PACKAGE}", precision, decisions)


def _write_package(
    component: Component, package: str, writer: BundleWriter, precision: Precision, like: Like | None
) -> dict[str, Decision]:
    spec = component.spec
    outputs = [
        coremltools.TensorType(name=tensor.name, dtype=None if tensor.dtype == "int64" else np.float32) for tensor in spec.outputs
    ]
    compression = Compression(like, component) if like else None
    with _quiet():
        model = coremltools.convert(
            _program(component), convert_to="mlprogram", minimum_deployment_target=coremltools.target.iOS18, outputs=outputs,
            compute_precision=PRECISIONS[precision], skip_model_load=True,
            pass_pipeline=compression.pipeline() if compression else coremltools.PassPipeline(),
        )  # fmt: skip
        model = compression.finish(model, precision) if compression else model
    description = model.get_spec()
    _set_bounds(description, spec)
    writer.add_file(f"{package}/{PACKAGE_INDEX}", json.dumps(package_index(), indent=1).encode())
    writer.add_file(f"{package}/{MODEL}", description.SerializeToString(deterministic=True))
    writer.add_file(f"{package}/{WEIGHTS}", Path(model.weights_dir) / "weight.bin")
    return compression.decisions(writer.path / package) if compression else {}


def _program(component: Component) -> torch.export.ExportedProgram:
    spec = component.spec
    examples = tuple(torch.zeros(tensor.shape(EXAMPLE_SIZES), dtype=DTYPES[tensor.dtype]) for tensor in spec.inputs)
    with SpelledOut():
        program = torch.export.export(component.module, examples, dynamic_shapes=free_axes(spec), strict=False)
    for node in program.graph.nodes:
        if node.kwargs.get("enable_gqa") or "rms_norm" in str(node.target):
            raise NextOmniError(f"{component.name}: {node.target} reached the converter, which computes it otherwise")
    decomposed: torch.export.ExportedProgram = program.run_decompositions({})
    return decomposed


class SpelledOut(TorchFunctionMode):
    """While it is entered, grouped attention and RMSNorm are made of plain operators."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if function is F.rms_norm:
            return rms_norm(*args, **given)
        if function is F.scaled_dot_product_attention and given.pop("enable_gqa", False):
            query, key, value = args[:3]
            args = (query, _expanded(key, query.shape[1]), _expanded(value, query.shape[1]), *args[3:])
        return function(*args, **given)


def _expanded(cache: Tensor, heads: int) -> Tensor:
    """Keys or values (B,kv_heads,S,D), each head repeated in place for the query heads of its group: (B,heads,S,D)."""
    own = cache.shape[1]
    return torch.cat([cache[:, head : head + 1] for head in range(own) for _ in range(heads // own)], dim=1)


def rms_norm(x: Tensor, shape: tuple[int, ...], weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last axis, divided by the largest magnitude before it is squared, so that float16 does not overflow."""
    largest = x.abs().amax(dim=-1, keepdim=True).clamp_min(1e-4)
    scaled = x / largest
    floor = (torch.full_like(largest, eps**0.5) / largest).square()  # a number over a tensor would gain an epsilon of 1e-4
    normalised: Tensor = scaled / (scaled.square().mean(dim=-1, keepdim=True) + floor).sqrt() * weight
    return normalised


def _set_bounds(model: Any, spec: GraphSpec) -> None:
    """Write the spec's bounds over those that tracing assumed, and leave out what differs from one conversion to the next."""
    model.description.ClearField("metadata")
    by_name = {tensor.name: tensor for tensor in spec.inputs}
    found = [[feature.name for feature in features] for features in (model.description.input, model.description.output)]
    if found != [[tensor.name for tensor in tensors] for tensors in (spec.inputs, spec.outputs)]:
        raise NextOmniError(f"{spec.name}: the converter gave inputs and outputs {found}")
    for feature in model.description.input:
        array, limits = feature.type.multiArrayType, bounds(by_name[feature.name])
        array.ClearField("ShapeFlexibility")
        array.ClearField("shape")
        array.shape.extend(min(high, max(low, 2)) for low, high in limits)  # what a tool shows where nobody chose
        for low, high in limits:
            array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hush the converter's progress and remarks; its errors are exceptions."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
