"""A perceptual distance of pictures (Zhang et al., arXiv 1801.03924) without learnt weights."""

from __future__ import annotations

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.models.vision import ImageEncoder


class Perceptual(nn.Module):
    """Distance of the features behind each block of a frozen copy of an image encoder, such as
    CLIP's before its warm-up."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Pixels (B,3,S,S) → the rows (B,N,width) behind each block, L2-normalised."""
        x, found = self.encoder.rows(pixels), []
        for block in self.encoder.transformer.blocks:
            x = block(x)
            found.append(F.normalize(x, dim=-1))
        return found

    def forward(self, decoded: Tensor, pixels: Tensor) -> Tensor:
        """Mean over blocks, rows and pictures of the squared distance of unit rows, 0 to 4."""
        pairs = zip(self.features(decoded), self.features(pixels), strict=True)
        distances = [(ours - theirs).square().sum(-1).mean() for ours, theirs in pairs]
        total: Tensor = sum(distances[1:], distances[0]) / len(distances)
        return total
