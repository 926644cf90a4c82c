"""PyTorch on the CPU in float32: the reference that every other runtime is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from nextomni_edge.models import networks
from nextomni_edge.models.components import Component, components
from nextomni_edge.models.networks import Model
from nextomni_edge.runtimes.base import Array, Runtime, Session
from nextomni_edge.spec import GraphSpec


class TorchSession(Session):
    """Calls the component's module."""

    def __init__(self, component: Component) -> None:
        super().__init__(component.spec, "cpu")
        self._module = component.module

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        with torch.inference_mode():
            found = self._module(
                *(torch.tensor(inputs[tensor.name]) for tensor in self.spec.inputs)
            )
        tensors = (found,) if isinstance(found, Tensor) else found
        named = dict(zip((tensor.name for tensor in self.spec.outputs), tensors, strict=True))
        return {name: named[name].numpy() for name in outputs}


def sessions(model: Model) -> dict[str, Session]:
    """A session over every component of a model in memory, which shares the model's weights."""
    return {name: TorchSession(component) for name, component in components(model).items()}


class TorchRuntime(Runtime):
    """`file` is a model directory; it is read once for all its components."""

    NAME: ClassVar = "PyTorch"

    def __init__(self) -> None:
        self._loaded: dict[Path, dict[str, Session]] = {}

    def providers(self) -> list[str]:
        return ["cpu"]

    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        self.choose_provider(component, provider)
        if file not in self._loaded:
            self._loaded[file] = sessions(networks.load(file))
        return self._loaded[file][component]
