"""Components to Core ML packages: ML Programs for iOS 18 and macOS 15, converted here. Only Apple's
systems run them.

The program spells out what the converter silently gets wrong. It tiles grouped keys, so that query
heads meet another head's keys. For RMSNorm it adds epsilon after a division by the maximum.

Row counts are free within the spec's bounds, or enumerated, which the Neural Engine wants
(docs/devices.md has the sources). Core ML has no size 0: `past` is at least 1, and the runtime
masks it. Keys and values are inputs and outputs, or a state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
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
from nextomni_edge.bundle.coreml_interface import KEPT, Form, bounds, packaged, shapes, state_shape
from nextomni_edge.bundle.coreml_package import (
    MODEL,
    PACKAGE,
    PACKAGE_INDEX,
    WEIGHTS,
    package_index_bytes,
)
from nextomni_edge.errors import InputError, NextOmniError, UsageError
from nextomni_edge.export.coreml_chunks import cut
from nextomni_edge.export.coreml_metadata import About, describe
from nextomni_edge.export.coreml_state import KeepingBackbone
from nextomni_edge.export.onnx import DTYPES, EXAMPLE_SIZES, free_axes
from nextomni_edge.export.weights import Precision
from nextomni_edge.models.backbone import Backbone
from nextomni_edge.models.components import Component
from nextomni_edge.spec import GraphSpec

# on import it warns of what only a Mac has
logging.getLogger("coremltools").setLevel(logging.ERROR)
import coremltools  # noqa: E402

from nextomni_edge.export.coreml_weights import Compression, Like  # noqa: E402

# The first narrows the indices of a gather over a free size, here up to twice the positions, to 16
# bits. The second sorts the updates of a state, and in coremltools 9.0 stops where two other passes
# have touched the operator before one (in float16).
NOT_WITH_A_STATE: Final = {"common::add_int16_cast", "common::canonicalize_inplace_pattern"}
# A product and a sum by channel, as GroupNorm ends, would become an operator of its own.
NEVER: Final = {"common::fuse_elementwise_to_batchnorm"}
PRECISIONS: Final = {
    "float32": coremltools.precision.FLOAT32,
    "float16": coremltools.precision.FLOAT16,
}


def write_component(
    component: Component,
    writer: BundleWriter,
    precision: Precision,
    like: Like | None = None,
    chunk_mib: int | None = None,
    form: Form | None = None,
    about: About | None = None,
) -> ComponentRecord:
    """Write one component, whose module holds its weights, as a package of the bundle. Its layers
    are compressed as `like` says.

    A backbone over `chunk_mib` becomes several packages. Only a backbone can keep a state, as
    `form` says. `precision` is that of weights and arithmetic; inputs and outputs stay float32.
    NextOmniError: the program differs from the spec. InputError: `like` has other layers.
    UsageError: a layer over `chunk_mib`, or rows that the model does not have.
    """
    form = _form_of(component, form or Form())
    planned = (
        {weight: decision for weight, (decision, _) in like.layers(component.name).items()}
        if like
        else {}
    )
    sizes = {weight: decision.bytes for weight, decision in planned.items()}
    decisions: dict[str, Decision] = {}
    for index, part in enumerate(cut(component, chunk_mib, np.dtype(precision).itemsize, sizes), 1):
        package = (
            f"{component.name}{PACKAGE}" if index == 1 else f"{component.name}.{index}{PACKAGE}"
        )
        decisions |= _write_package(part, package, writer, precision, like, form, about or About())
    for weight in sorted(planned.keys() - decisions.keys()):
        raise InputError(
            f"the quantised bundle has a layer {weight!r} in {component.name}, which the model"
            " does not have"
        )
    return ComponentRecord("coreml", f"{component.name}{PACKAGE}", precision, decisions, form.keeps)


def _form_of(component: Component, form: Form) -> Form:
    """The part of a form that concerns this component."""
    dims = component.spec.dims()
    if form.rows and "rows" in dims and form.rows[-1] > dims["rows"].max:
        raise UsageError(
            f"rows {form.rows[-1]}: {component.name} takes at most {dims['rows'].max}; enumerate no"
            " more"
        )
    keeps = form.keeps and bool(component.spec.states)
    return Form(bool(form.rows) or keeps, form.rows if "rows" in dims else (), keeps)


def _write_package(
    component: Component,
    package: str,
    writer: BundleWriter,
    precision: Precision,
    like: Like | None,
    form: Form,
    about: About,
) -> dict[str, Decision]:
    spec = packaged(component.spec, form)
    outputs = [
        coremltools.TensorType(
            name=tensor.name, dtype=None if tensor.dtype == "int64" else np.float32
        )
        for tensor in spec.outputs
    ]
    compression = Compression(like, component) if like else None
    pipeline = compression.pipeline() if compression else coremltools.PassPipeline()
    pipeline.remove_passes(NEVER | NOT_WITH_A_STATE if form.keeps else NEVER)
    with _quiet():
        model = coremltools.convert(
            _program(_in_form(component, form)), convert_to="mlprogram",
            minimum_deployment_target=coremltools.target.iOS18, outputs=outputs,
            compute_precision=PRECISIONS[precision], skip_model_load=True, pass_pipeline=pipeline,
        )  # fmt: skip
        model = compression.finish(model, precision) if compression else model
    description = model.get_spec()
    _describe(description, spec, shapes(component.spec, form))
    if [state.name for state in description.description.state] != (
        list(KEPT) if form.keeps else []
    ):
        raise NextOmniError(f"{spec.name}: the converter gave other states than keys and values")
    describe(description, spec, precision, about)
    writer.add_file(f"{package}/{PACKAGE_INDEX}", package_index_bytes())
    writer.add_file(f"{package}/{MODEL}", description.SerializeToString(deterministic=True))
    writer.add_file(f"{package}/{WEIGHTS}", Path(model.weights_dir) / "weight.bin")
    return compression.decisions(writer.path / package) if compression else {}


def _in_form(component: Component, form: Form) -> Component:
    """The component with a module that has its package's interface."""
    module = component.module
    if form.keeps:
        assert isinstance(module, Backbone)  # only it has states
        module = KeepingBackbone(module, state_shape(component.spec))
    return dataclasses.replace(component, module=module, spec=packaged(component.spec, form))


def _program(component: Component) -> torch.export.ExportedProgram:
    spec = component.spec
    examples = tuple(
        torch.zeros(tensor.shape(EXAMPLE_SIZES), dtype=DTYPES[tensor.dtype])
        for tensor in spec.inputs
    )
    with SpelledOut():
        program = torch.export.export(
            component.module, examples, dynamic_shapes=free_axes(spec), strict=False
        )
    for node in program.graph.nodes:
        if node.kwargs.get("enable_gqa") or "rms_norm" in str(node.target):
            raise NextOmniError(
                f"{component.name}: {node.target} reached the converter, which computes it"
                " otherwise"
            )
    decomposed: torch.export.ExportedProgram = program.run_decompositions({})
    return decomposed


class SpelledOut(TorchFunctionMode):
    """A context in which grouped attention, a causal mask, RMSNorm and GroupNorm are made of plain
    operators."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if function is F.rms_norm:
            return rms_norm(*args, **given)
        if function is F.group_norm:
            return group_norm(*args, **given)
        # the converter has no & of masks, and our packages no comparison but from this side
        if function is Tensor.__and__:
            return args[0].float() * args[1].float() > 0.5
        if function in (Tensor.le, Tensor.__le__):
            return args[1] >= args[0]
        if function is F.scaled_dot_product_attention and given.pop("enable_gqa", False):
            query, key, value = args[:3]
            args = (
                query,
                _expanded(key, query.shape[1]),
                _expanded(value, query.shape[1]),
                *args[3:],
            )
        return function(*args, **given)


def _expanded(cache: Tensor, heads: int) -> Tensor:
    """Keys or values (B,kv_heads,S,D), with each head repeated for the query heads of its group:
    (B,heads,S,D)."""
    own = cache.shape[1]
    return torch.cat(
        [cache[:, head : head + 1] for head in range(own) for _ in range(heads // own)], dim=1
    )


def rms_norm(x: Tensor, shape: tuple[int, ...], weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last axis. Values are divided by the largest magnitude before they are
    squared, so that float16 does not overflow."""
    largest = x.abs().amax(dim=-1, keepdim=True).clamp_min(1e-4)
    scaled = x / largest
    # a number over a tensor would gain an epsilon of 1e-4
    floor = (torch.full_like(largest, eps**0.5) / largest).square()
    normalised: Tensor = (
        scaled / (scaled.square().mean(dim=-1, keepdim=True) + floor).sqrt() * weight
    )
    return normalised


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """GroupNorm of (B,C,h,w) over each group of channels. The converter has one of its own that
    needs a known batch."""
    grouped = x.flatten(2).unflatten(1, (groups, x.shape[1] // groups)).flatten(2)
    centred = grouped - grouped.mean(dim=-1, keepdim=True)
    spread = centred.square().mean(dim=-1, keepdim=True)
    normalised = (centred / (spread + eps).sqrt()).reshape(x.shape)
    out: Tensor = normalised * weight[:, None, None] + bias[:, None, None]
    return out


def _describe(
    model: Any, spec: GraphSpec, enumerated: Mapping[str, tuple[tuple[int, ...], ...]]
) -> None:
    """Write the package's sizes over those of the trace, and remove what differs between two
    conversions."""
    model.description.ClearField("metadata")
    by_name = {tensor.name: tensor for tensor in spec.inputs}
    found = [
        [feature.name for feature in features]
        for features in (model.description.input, model.description.output)
    ]
    if found != [[tensor.name for tensor in tensors] for tensors in (spec.inputs, spec.outputs)]:
        raise NextOmniError(f"{spec.name}: the converter gave inputs and outputs {found}")
    for feature in model.description.input:
        array, limits = feature.type.multiArrayType, bounds(by_name[feature.name])
        array.ClearField("ShapeFlexibility")
        array.ClearField("shape")
        if feature.name in enumerated:
            array.shape.extend(enumerated[feature.name][0])
            for shape in enumerated[feature.name]:
                array.enumeratedShapes.shapes.add(shape=shape)
            continue
        # what a tool shows where nobody chose
        array.shape.extend(min(high, max(low, 2)) for low, high in limits)
        for low, high in limits if any(low != high for low, high in limits) else ():
            array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converter's progress and remarks; its errors are exceptions."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
