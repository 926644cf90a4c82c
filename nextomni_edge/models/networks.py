"""The networks that a config can name: built empty, or read from a model directory one tensor at a
time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import torch

from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.formats.tensor_file import FLOATS, all_finite
from nextomni_edge.models.fudoki import FudokiModel
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.models.omnidiffusion import OmniDiffusionModel
from nextomni_edge.models.omnivoice import OmniVoiceModel
from nextomni_edge.models.unified import UnifiedModel

Model: TypeAlias = OmniModel | FudokiModel | UnifiedModel | OmniDiffusionModel | OmniVoiceModel
NETWORKS: Final[Mapping[str, type[Model]]] = {
    "native": OmniModel, "fudoki": FudokiModel, "unified": UnifiedModel,
    "omnidiffusion": OmniDiffusionModel, "omnivoice": OmniVoiceModel,
}  # fmt: skip


def build(config: ModelConfig) -> Model:
    """The network of a config with random weights, on the current default device."""
    return NETWORKS[config.network](config)


def state_names(model: Model) -> dict[str, torch.Tensor]:
    """The model's own tensors by name, each shared one once under its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the config's network, by name, without allocating one."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in state_names(build(config)).items()}


def check_tensors(checkpoint: Checkpoint) -> None:
    """InputError: the checkpoint does not hold exactly the tensors of its config."""
    expected, present = expected_shapes(checkpoint.config), set(checkpoint.names())
    for name in sorted(present ^ expected.keys()):
        raise InputError(
            f"{checkpoint.path}: tensor {name} is {'unknown' if name in present else 'missing'}"
        )
    for name, shape in expected.items():
        for dtype in checkpoint.dtypes(name):
            if dtype not in FLOATS:
                raise InputError(
                    f"{checkpoint.path}: tensor {name} has dtype {dtype}, expected one of"
                    f" {', '.join(FLOATS)}"
                )
        if checkpoint.shape(name) != shape:
            raise InputError(
                f"{checkpoint.path}: tensor {name} has shape {checkpoint.shape(name)}, expected"
                f" {shape}"
            )


def load(path: Path) -> Model:
    """Read a model directory in float32. InputError: a tensor is missing, unknown, not finite, or
    has another shape than the config says."""
    checkpoint = Checkpoint.open(path)
    check_tensors(checkpoint)
    checkpoint.check_referenced()
    model = build(checkpoint.config)
    with torch.no_grad():
        for name, tensor in state_names(model).items():
            values = checkpoint.tensor(name)
            if not all_finite(values):
                raise InputError(
                    f"{path}: tensor {name} has values that are not finite; the checkpoint is not"
                    " usable"
                )
            tensor.copy_(torch.from_numpy(values.copy()))
    return model.eval()
