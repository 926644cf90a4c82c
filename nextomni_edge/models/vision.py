"""Vision encoder (a ViT as CLIP's, then MCQ) and decoder (transformer, then convolutions)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ImageConfig
from nextomni_edge.models.codebook import Codebook
from nextomni_edge.models.transformer import Transformer


class ImageEncoder(nn.Module):
    """Pixels (B,3,size,size) in [-1,1] → sub-codes (B,N,K) int64."""

    def __init__(self, config: ImageConfig, codebook: Codebook) -> None:
        super().__init__()
        width = config.encoder.width
        self.codebook = codebook
        rows = config.positions + config.encoder.class_token
        self.patch = nn.Conv2d(3, width, config.patch, stride=config.patch)
        self.positions = nn.Parameter(torch.randn(rows, width) * 0.02)
        if config.encoder.class_token:
            self.class_token = nn.Parameter(torch.randn(width) * 0.02)
        self.first_norm = (
            nn.LayerNorm(width, config.encoder.norm_eps)
            if config.encoder.first_norm
            else nn.Identity()
        )
        self.transformer = Transformer(config.encoder)
        self.latent = nn.Linear(width, config.codebook.latent_dim)
        self.classes = int(config.encoder.class_token)

    def rows(self, pixels: Tensor) -> Tensor:
        """The input of the blocks: the class token's row, where there is one, and the patches'
        rows, (B,classes+N,width)."""
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        if self.classes:
            x = torch.cat((self.class_token.expand(x.shape[0], 1, -1), x), dim=1)
        out: Tensor = self.first_norm(x + self.positions)
        return out

    def latents(self, pixels: Tensor) -> Tensor:
        """The continuous latents before quantisation, (B,N,K·D)."""
        x = self.transformer(self.rows(pixels))
        out: Tensor = self.latent(x[:, self.classes :] if self.classes else x)
        return out

    def forward(self, pixels: Tensor) -> Tensor:
        return self.codebook.encode(self.latents(pixels))


class ImageDecoder(nn.Module):
    """Sub-codes (B,N,K) int64 → pixels (B,3,side,side) in [-1,1]. The convolutions see across patch
    borders. Where pictures are drawn finer than they are read, one convolution makes the finer
    pixels of each (Shi et al., arXiv 1609.05158)."""

    channels = 32

    def __init__(self, config: ImageConfig, codebook: Codebook) -> None:
        super().__init__()
        self.config, self.codebook = config, codebook
        width = config.decoder.width
        self.project = nn.Linear(config.codebook.latent_dim, width)
        self.positions = nn.Parameter(torch.randn(config.positions, width) * 0.02)
        self.transformer = Transformer(config.decoder)
        self.unpatch = nn.Linear(width, config.patch**2 * self.channels)
        self.refine = nn.Sequential(
            nn.GELU(), nn.Conv2d(self.channels, self.channels, 3, padding=1), nn.GELU(),
            *self.enlarged(config.finer),
            nn.Conv2d(self.channels, 3, 3, padding=1),
        )  # fmt: skip

    def enlarged(self, finer: int) -> tuple[nn.Module, ...]:
        """What makes finer² pixels of each; nothing where `finer` is 1."""
        if finer == 1:
            return ()
        wider = nn.Conv2d(self.channels, self.channels * finer**2, 3, padding=1)
        return wider, nn.PixelShuffle(finer), nn.GELU()

    def pixels(self, latents: Tensor) -> Tensor:
        """Codebook vectors (B,N,K·D) → pixels; not clamped, for training."""
        grid, patch = self.config.grid, self.config.patch
        x = self.unpatch(self.transformer(self.project(latents) + self.positions))
        # no axis for each of grid and patch at once: Core ML has tensors of five axes at most
        out: Tensor = self.refine(
            F.pixel_shuffle(x.transpose(1, 2).unflatten(2, (grid, grid)), patch)
        )
        return out

    def forward(self, codes: Tensor) -> Tensor:
        return self.pixels(self.codebook.decode(codes)).clamp(-1.0, 1.0)
