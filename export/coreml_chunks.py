"""A backbone cut into packages of a limited size. They run one after another, and the hidden states
of one go into the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from torch import nn

from nextomni_edge.bundle.coreml_interface import chunk_spec
from nextomni_edge.errors import UsageError
from nextomni_edge.models.backbone import Backbone
from nextomni_edge.models.components import Component

MIB: Final = 2**20


class BackboneChunk(Backbone):
    """Layers `first` to `last` of a backbone, under their own names. Only the last chunk has the
    norm."""

    def __init__(self, whole: Backbone, first: int, last: int) -> None:
        nn.Module.__init__(self)
        self.config = whole.config
        self.layers = nn.ModuleDict(
            {str(index): whole.layers[index] for index in range(first, last)}
        )  # type: ignore[assignment]  # names stay
        self.norm = whole.norm if last == len(whole.layers) else nn.Identity()  # type: ignore[assignment]


def cut(
    component: Component, limit: int | None, width: int, stored: Mapping[str, int]
) -> list[Component]:
    """The component, or the chunks of a backbone that is larger than `limit` MiB. Each chunk has as
    many layers as fit.

    width: bytes of a value. stored: the bytes of compressed weights, by name. UsageError: a layer
    does not fit.
    """
    if limit is None or not isinstance(component.module, Backbone):
        return [component]
    sizes = [
        sum(
            stored.get(f"layers.{index}.{name}", tensor.numel() * width)
            for name, tensor in layer.named_parameters()
        )
        for index, layer in enumerate(component.module.layers)
    ]
    bounds, room = [0], limit * MIB
    for index, size in enumerate(sizes):
        if size > limit * MIB:
            raise UsageError(
                f"chunks of {limit} MiB: layer {index} of the {component.name} has {size / MIB:.1f}"
                " MiB; allow for it"
            )
        if size > room:
            bounds, room = [*bounds, index], limit * MIB
        room -= size
    spans = list(zip(bounds, [*bounds[1:], len(sizes)], strict=True))
    if len(spans) == 1:
        return [component]
    return [
        dataclasses.replace(
            component,
            module=BackboneChunk(component.module, first, last),
            spec=chunk_spec(component.spec, last - first),
        )
        for first, last in spans
    ]
