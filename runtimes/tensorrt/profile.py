"""Optimisation profiles of TensorRT from a component's spec: the smallest, the preferred and the
largest value of every free size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nextomni_edge.errors import UsageError
from nextomni_edge.spec import GraphSpec

# one request with guidance, a canvas of a picture and its prompt, no cache
FAST: Final = {"batch": 2, "rows": 256, "past": 0}


@dataclass(frozen=True)
class Limits:
    """The sizes that an engine must take: at most `batch` sequences at once (guidance doubles
    them), and `rows` positions of each, with as many kept ones. None: what the spec allows. An
    engine's working memory grows with them, whatever runs later."""

    batch: int | None = 8
    rows: int | None = None


@dataclass(frozen=True)
class Range:
    """Shapes of one input: the smallest, the preferred and the largest."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


def profile(spec: GraphSpec, limits: Limits) -> dict[str, Range]:
    """The range of every input of a component. UsageError: limits outside the spec's."""
    sizes = {name: _bounds(spec, name, limits) for name in spec.dims()}
    if "attended" in sizes:  # the columns that rows see: those kept, and themselves
        least, _, most = sizes["attended"]
        fast, largest = (sizes["rows"][place] + sizes["past"][place] for place in (1, 2))
        sizes["attended"] = (least, fast, min(largest, most))
    of = [{name: bounds[place] for name, bounds in sizes.items()} for place in range(3)]
    return {tensor.name: Range(*(tensor.shape(chosen) for chosen in of)) for tensor in spec.inputs}


def outside(ranges: Mapping[str, Range], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Why these inputs do not fit an engine of these ranges, or None."""
    for name, given in shapes.items():
        for axis, size in enumerate(given):
            least, most = ranges[name].min[axis], ranges[name].max[axis]
            if not least <= size <= most:
                return f"{name}: axis {axis} has size {size}, the engine takes {least} to {most}"
    return None


def _bounds(spec: GraphSpec, name: str, limits: Limits) -> tuple[int, int, int]:
    dim = spec.dims()[name]
    limit = {"batch": limits.batch, "rows": limits.rows, "past": limits.rows}.get(name)
    most = dim.max if limit is None else limit
    if not max(dim.min, 1) <= most <= dim.max:
        raise UsageError(
            f"{spec.name}: at most {most} of {name} was asked for, expected {max(dim.min, 1)} to"
            f" {dim.max}"
        )
    return dim.min, min(FAST.get(name, most), most), most
