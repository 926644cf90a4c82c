"""A model directory in our own layout: config.json, model.safetensors, tokenizer.json. Weights are safetensors, never pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_directory
from nextomni_edge.models.omni import OmniModel


def state_names(model: OmniModel) -> dict[str, torch.Tensor]:
    """The model's own tensors by name, each shared one once under its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def state(model: OmniModel, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Copies of the model's tensors, parameters in `dtype`; buffers (metric tables, the vocoder's) stay float32."""
    buffers = dict(model.named_buffers())
    return {
        name: tensor.detach().to(torch.float32 if name in buffers else dtype).contiguous()
        for name, tensor in state_names(model).items()
    }


def save(model: OmniModel, tokenizer: Path, out: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a model directory, replacing one that is there as a whole. UsageError: the place cannot be written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(out, overwrite=True) as part:
        save_file(state(model, dtype), part / "model.safetensors")
        (part / "config.json").write_text(json.dumps(model.config.to_json(), indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(tokenizer, part / "tokenizer.json")


def load(path: Path) -> OmniModel:
    """Read a model directory in float32. InputError: a tensor missing, unknown, or of another shape than the config says."""
    config = ModelConfig.load(path / "config.json")
    try:
        tensors = load_file(path / "model.safetensors")
    except Exception as error:  # safetensors raises its own type for a bad file and OSError for a missing one
        raise InputError(f"{path / 'model.safetensors'}: not a readable safetensors file ({error})") from error
    model = OmniModel(config)
    own = state_names(model)
    for name in sorted(own.keys() ^ tensors.keys()):
        raise InputError(f"{path}: tensor {name} is {'missing' if name in own else 'unknown'}")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise InputError(f"{path}: tensor {name} has shape {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}")
            tensor.copy_(tensors[name])
    return model.eval()
