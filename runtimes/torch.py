"""PyTorch. On the processor in float32 it is the reference that every other runtime is compared
with. It also runs a model directory on a GPU, and in half precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import torch
from torch import Tensor

from nextomni_edge.models import networks
from nextomni_edge.models.components import Component, components
from nextomni_edge.models.networks import Model
from nextomni_edge.runtimes.base import Array, Compute, Runtime, Session
from nextomni_edge.spec import GraphSpec

CPU: Final = "cpu"
HALVES: Final[Mapping[str, torch.dtype]] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchSession(Session):
    """Calls the component's module, which is on this device. Below float32 its products are
    computed in `compute`, and sums and norms as `torch.autocast` says."""

    def __init__(
        self, component: Component, device: str = CPU, compute: Compute = "float32"
    ) -> None:
        super().__init__(component.spec, device)
        self._module, self._compute = component.module, compute

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        device, kind = self.provider, torch.device(self.provider).type
        narrow = torch.autocast(kind, HALVES.get(self._compute), enabled=self._compute in HALVES)
        with torch.inference_mode(), narrow:
            found = self._module(
                *(torch.tensor(inputs[each.name], device=device) for each in self.spec.inputs)
            )
        tensors = (found,) if isinstance(found, Tensor) else found
        named = dict(zip((tensor.name for tensor in self.spec.outputs), tensors, strict=True))
        return {name: _array(named[name]) for name in outputs}


def _array(tensor: Tensor) -> Array:
    whole = tensor.float() if tensor.is_floating_point() else tensor
    found: Array = whole.cpu().numpy()
    return found


def sessions(model: Model, device: str = CPU, compute: Compute = "float32") -> dict[str, Session]:
    """A session over every component of a model in memory, which shares the model's weights."""
    return {
        name: TorchSession(component, device, compute)
        for name, component in components(model).items()
    }


class TorchRuntime(Runtime):
    """`file` is a model directory; it is read once for all its components."""

    NAME: ClassVar = "PyTorch"
    COMPUTES: ClassVar[tuple[Compute, ...]] = ("float32", "bfloat16", "float16")
    PLACES: ClassVar = {"cuda": "cuda", "cpu": CPU}
    GPU_EXTRAS: ClassVar = "install a torch with CUDA, from pytorch.org"

    def __init__(self) -> None:
        self._loaded: dict[tuple[Path, str], dict[str, Session]] = {}

    def providers(self) -> list[str]:
        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return [CPU, *(name for name, here in found.items() if here)]

    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        device = self.choose_provider(component, provider)
        if (file, device) not in self._loaded:
            model = networks.load(file).to(device)
            self._loaded[file, device] = sessions(model, device, self.execution.compute)
        return self._loaded[file, device][component]
