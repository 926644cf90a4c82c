"""Masked models of one vocabulary: LLaDA (arXiv 2502.09992), MMaDA (2505.15809), Lumina-DiMOO
(2510.06308) and Dream (2508.15487). Text and image codes share one table and one head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ModelConfig
from nextomni_edge.models.backbone import Backbone
from nextomni_edge.models.grid_codec import GridDecoder, GridEncoder
from nextomni_edge.models.heads import TextEmbedding, text_head


class SharedCodeEmbedding(nn.Module):
    """Codes (B,S,1) int64 → rows (B,S,H) of the text table. A code equal to `entries`, one behind
    the last, is the mask."""

    def __init__(self, weight: nn.Parameter, config: ModelConfig) -> None:
        super().__init__()
        self.weight = weight
        self.offset, self.entries = config.image.offset or 0, config.image.codebook.entries
        self.mask = config.flow.text.mask or 0

    def forward(self, codes: Tensor) -> Tensor:
        masked = codes[:, :, 0] >= self.entries
        return F.embedding(
            torch.where(masked, self.mask, codes[:, :, 0] + self.offset), self.weight
        )


class CodeHead(nn.Module):
    """Hidden (B,R,H) → logits (B,R,1,C): the head's rows of the image codes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        entries, hidden = config.image.codebook.entries, config.backbone.hidden_size
        self.weight = nn.Parameter(torch.randn(entries, hidden) * hidden**-0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight)[:, :, None]


class UnifiedModel(nn.Module):
    """Submodules bear the names of `ComponentName`, their forwards the signatures of
    `graphs.graph_specs`. `image_head` holds a copy of the head's rows of the image codes, so that a
    picture costs a head of its codes only."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_text = TextEmbedding(config.text, config.backbone.hidden_size)
        self.backbone = Backbone(config.backbone)
        self.text_head = text_head(config, self.embed_text)
        if "image" not in config.modalities:
            return
        image = config.image
        if image.vq is None or image.vq_encoder is None:
            raise ValueError("a unified model of images has image.vq and image.vq_encoder")
        self.embed_image = SharedCodeEmbedding(self.embed_text.weight, config)
        self.image_head = CodeHead(config)
        self.image_decoder = GridDecoder(image, image.vq)
        codebook = self.image_decoder.codebook if image.vq.lookup == "nearest" else None
        self.image_encoder = GridEncoder(image.vq_encoder, codebook, image.codebook.code_dim)
