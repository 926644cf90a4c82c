"""Inputs and outputs of a Core ML package: a component's spec, in the package's form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import MilProgram
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec, Wire

PAST = (Wire.PAST_KEYS, Wire.PAST_VALUES)
KEPT = (Wire.KEYS, Wire.VALUES)


@dataclass(frozen=True)
class Form:
    """single: one sequence at a time. rows: the enumerated counts of rows, ascending; empty: any
    within the spec. keeps: keys and values stay inside as a state. Core ML wants a fixed shape for
    it: one sequence of all positions, in float16."""

    single: bool = False
    rows: tuple[int, ...] = ()
    keeps: bool = False

    @classmethod
    def of(cls, program: MilProgram) -> Form:
        """The form that a package describes itself."""
        bounds, shapes = next(((first.bounds, first.shapes) for first in program.inputs), ((), ()))
        rows, keeps = (
            tuple(sorted({shape[1] for shape in shapes if len(shape) > 1})),
            bool(program.states),
        )
        return cls(bool(rows) or keeps or bounds[:1] == ((1, 1),), rows, keeps)


def limited(spec: GraphSpec, form: Form) -> GraphSpec:
    """A component's interface with no more rows than its packages have shapes for."""
    sizes = {"rows": Dim("rows", 1, form.rows[-1])} if form.rows else {}
    return _each(spec, lambda tensor: _sized(tensor, sizes))


def packaged(spec: GraphSpec, form: Form) -> GraphSpec:
    """A package's interface. `held` (positions,) says what the state holds at each position after
    the call: an index into the columns of (what it held, the rows)."""
    found = _each(
        limited(spec, form), lambda tensor: _sized(tensor, {"batch": 1} if form.single else {})
    )
    if not form.keeps:
        return found
    held = TensorSpec(Wire.HELD, "int64", (spec.dims()["past"].max,))
    inputs = [tensor for tensor in found.inputs if tensor.name not in PAST]
    return GraphSpec(
        spec.name,
        (*inputs, held),
        tuple(tensor for tensor in found.outputs if tensor.name not in KEPT),
    )


def state_shape(spec: GraphSpec) -> tuple[int, ...]:
    """The shape of the keys, and of the values, that a package of this component keeps:
    (layers,1,kv_heads,positions,head_dim)."""
    keys = next(tensor for tensor in spec.inputs if tensor.name == Wire.PAST_KEYS)
    return keys.shape({"batch": 1, "past": spec.dims()["past"].max})


def bounds(spec: TensorSpec) -> tuple[tuple[int, int], ...]:
    """The sizes of each axis that a package takes: the spec's, but never 0, which Core ML does not
    support."""
    return tuple(
        (max(dim.min, 1), dim.max) if isinstance(dim, Dim) else (dim, dim) for dim in spec.dims
    )


def shapes(spec: GraphSpec, form: Form) -> dict[str, tuple[tuple[int, ...], ...]]:
    """The enumerated shapes of each input, equally many each. Core ML takes the first of all
    inputs, or the second of all, and so on.

    Each count of rows is there without a past (one column, as Core ML has no size 0), and with all
    positions as the past.
    """
    dims = spec.dims()
    if not form.rows or "rows" not in dims:
        return {}
    pasts = (1, dims["past"].max) if "past" in dims else (0,)
    sizes = [
        {"rows": rows, "past": past, "attended": past + rows}
        for rows in form.rows
        for past in pasts
    ]
    free = [
        tensor
        for tensor in packaged(spec, form).inputs
        if any(isinstance(dim, Dim) for dim in tensor.dims)
    ]
    return {tensor.name: tuple(tensor.shape(size) for size in sizes) for tensor in free}


def chunk_spec(spec: GraphSpec, layers: int) -> GraphSpec:
    """The interface of a chunk of a backbone: its own layers' keys and values."""

    def own(tensor: TensorSpec) -> TensorSpec:
        return (
            dataclasses.replace(tensor, dims=(layers, *tensor.dims[1:]))
            if tensor.name in (*PAST, *KEPT)
            else tensor
        )

    return _each(spec, own)


def chunk_layers(program: MilProgram) -> int:
    """The number of layers in a package. InputError: it is no package of a backbone."""
    for feature in (*program.inputs, *program.states):
        if feature.name in (Wire.PAST_KEYS, Wire.KEYS) and feature.bounds:
            return feature.bounds[0][0]
    raise InputError("one of several packages, but none of a backbone; only a backbone is cut")


def _each(spec: GraphSpec, change: Callable[[TensorSpec], TensorSpec]) -> GraphSpec:
    return dataclasses.replace(
        spec, inputs=tuple(map(change, spec.inputs)), outputs=tuple(map(change, spec.outputs))
    )


def _sized(tensor: TensorSpec, sizes: Mapping[str, int | Dim]) -> TensorSpec:
    """A tensor whose named dims have these sizes."""
    return dataclasses.replace(
        tensor,
        dims=tuple(
            sizes.get(dim.name, dim) if isinstance(dim, Dim) else dim for dim in tensor.dims
        ),
    )
