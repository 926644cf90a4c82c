"""The model as the components that leave PyTorch. Each has a module, an interface, and its weights'
names in the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nextomni_edge.graphs import graph_specs
from nextomni_edge.models.networks import Model
from nextomni_edge.spec import GraphSpec


@dataclass(frozen=True)
class Component:
    """`weights` maps each key of the module's state dict to the tensor's name in the checkpoint."""

    name: str
    module: nn.Module
    spec: GraphSpec
    weights: dict[str, str]


def components(model: Model) -> dict[str, Component]:
    """Every component of a model, real or on the meta device. A shared tensor has one name: the
    first in the model."""
    canonical: dict[int, str] = {}
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        canonical.setdefault(id(tensor), name)
    found: dict[str, Component] = {}
    for name, spec in graph_specs(model.config).items():
        module = model.get_submodule(name)
        own = [
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        ]
        found[name] = Component(
            name, module, spec, {key: canonical[id(tensor)] for key, tensor in own}
        )
    return found
