"""Small models of published architectures, saved as their publishers save them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from nextomni_edge.models.initial import initialise, read_part, with_sections
from nextomni_edge.models.omni import OmniModel
from tests.tiny import tiny_config

LANGUAGE = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 70, "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}  # fmt: skip
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": 24,
    "patch_size": 8,
}


def published(model: PreTrainedModel, out: Path) -> PreTrainedModel:
    """Random weights far from their initial ones (norms and biases too), written as a published
    checkpoint is."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:  # Whisper's sinusoids
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(out)
    return model


def native(spec: str) -> OmniModel:
    """A native model that takes the part's sections, with its weights."""
    part = read_part(spec)
    model = OmniModel(with_sections(tiny_config("parallel"), part)).eval()
    assert initialise(model, part) == []
    return model
