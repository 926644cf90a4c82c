"""A model directory in our own layout: config.json, model.safetensors, tokenizer.json. Weights are
safetensors, never pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from nextomni_edge.checkpoints.directory import MODEL_DIRECTORY
from nextomni_edge.errors import InputError
from nextomni_edge.models import networks
from nextomni_edge.models.networks import state_names
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.outputs import output_directory


def state(model: OmniModel, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Copies of the model's tensors, parameters in `dtype`; buffers (metric tables, the vocoder's)
    stay float32."""
    buffers = dict(model.named_buffers())
    return {
        name: tensor.detach().to(torch.float32 if name in buffers else dtype).contiguous()
        for name, tensor in state_names(model).items()
    }


def save(
    model: OmniModel, tokenizer: Path | None, out: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write a model directory. It replaces an existing one as a whole. Without a tokenizer it can
    only start a training.

    UsageError: the place cannot be written, or holds anything else.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_directory(out, MODEL_DIRECTORY, overwrite=True) as part:
        save_file(state(model, dtype), part / "model.safetensors")
        (part / "config.json").write_text(
            json.dumps(model.config.to_json(), indent=2) + "\n", encoding="utf-8"
        )
        if tokenizer is not None:
            shutil.copyfile(tokenizer, part / "tokenizer.json")


def load(path: Path) -> OmniModel:
    """Read a model directory in float32. InputError: a tensor is missing, unknown, or has another
    shape than the config says."""
    model = networks.load(path)
    if not isinstance(model, OmniModel):
        raise InputError(f"{path}: a model of network {model.config.network!r}, expected 'native'")
    return model
