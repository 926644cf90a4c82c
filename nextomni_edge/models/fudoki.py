"""FUDOKI (Wang et al., arXiv 2505.20147): a discrete-flow model of text and images on a LLaMA-type
backbone.

A given image enters as continuous features of SigLIP. A generated image enters as codes with their
own embedding. Four tables of the same symbols are separate tensors: the input embedding, the
decoder's codebook, the head and the metric table.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ImageConfig, ModelConfig
from nextomni_edge.models.backbone import Backbone
from nextomni_edge.models.heads import TextEmbedding, TextHead
from nextomni_edge.models.transformer import Transformer
from nextomni_edge.models.vq import VqDecoder, VqEncoder


class VisionTower(nn.Module):
    """SigLIP's vision transformer (Zhai et al., arXiv 2303.15343): pixels (B,3,size,size) in [-1,1]
    → features (B,N,width).

    The final norm is applied; there is no class token, and the pooling head is not used.
    """

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, config.encoder.width, config.patch, stride=config.patch)
        self.positions = nn.Parameter(torch.randn(config.positions, config.encoder.width) * 0.02)
        self.transformer = Transformer(config.encoder)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.transformer(
            self.patch(pixels).flatten(2).transpose(1, 2) + self.positions
        )
        return out


class Projector(nn.Module):
    """Two linear layers with GELU between, (…,in) → (…,H). They bring features and code vectors to
    the backbone's width."""

    def __init__(self, size_in: int, hidden_size: int) -> None:
        super().__init__()
        self.first = nn.Linear(size_in, hidden_size)
        self.second = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.gelu(self.first(x)))
        return out


class FeatureEncoder(nn.Module):
    """Pixels (B,3,size,size) in [-1,1] → the rows that the backbone reads for a given image,
    (B,N,H)."""

    def __init__(self, config: ImageConfig, hidden_size: int) -> None:
        super().__init__()
        self.tower = VisionTower(config)
        self.aligner = Projector(config.encoder.width, hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.aligner(self.tower(pixels))
        return out


class GenerationEmbedding(nn.Module):
    """Codes (B,S,1) int64 of a generated image → rows (B,S,H), through a separate table that is not
    normalised."""

    def __init__(self, config: ImageConfig, hidden_size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(config.codebook.entries, config.codebook.code_dim))
        self.projector = Projector(config.codebook.code_dim, hidden_size)

    def forward(self, codes: Tensor) -> Tensor:
        out: Tensor = self.projector(F.embedding(codes[:, :, 0], self.table))
        return out


class GenerationHead(nn.Module):
    """Hidden (B,R,H) → logits (B,R,1,C): two linear layers with GELU between."""

    def __init__(self, config: ImageConfig, hidden_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(hidden_size, config.head.width)
        self.out = nn.Linear(config.head.width, config.codebook.entries)

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.out(F.gelu(self.project(hidden)))
        return logits[:, :, None]


class MetricTables(nn.Module):
    """The frozen tables of the probability path: text (V,D) and image (1,C,D) (METHOD 3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        codebook = config.image.codebook
        self.text = nn.Buffer(torch.randn(config.text.vocabulary_size, config.text.metric_dim))
        self.image = nn.Buffer(torch.randn(codebook.codebooks, codebook.entries, codebook.code_dim))


class FudokiModel(nn.Module):
    """Submodules have the names of `ComponentName`, and their forwards the signatures of
    `graphs.graph_specs`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden, vocabulary = config.backbone.hidden_size, config.text.vocabulary_size
        self.config = config
        self.embed_text = TextEmbedding(config.text, hidden)
        self.embed_image = GenerationEmbedding(config.image, hidden)
        self.backbone = Backbone(config.backbone)
        self.text_head = TextHead(nn.Parameter(torch.randn(vocabulary, hidden) * hidden**-0.5))
        self.image_head = GenerationHead(config.image, hidden)
        self.image_encoder = FeatureEncoder(config.image, hidden)
        if config.image.vq is None:
            raise ValueError("FUDOKI's config has image.vq")
        self.image_decoder = VqDecoder(config.image, config.image.vq)
        if config.image.vq_encoder is not None:
            self.image_quantiser = VqEncoder(self.image_decoder.codebook, config.image.vq_encoder)
        self.metric_tables = MetricTables(config)
