"""Image tokenizers of published masked models: MAGVIT-v2 (Yu et al., arXiv 2310.05737) and aMUSEd's
VQ-GAN (arXiv 2401.01808), for pictures of any size."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ImageConfig, VqConfig
from nextomni_edge.models.vq import Downsample, GridAttention, Level, ResidualBlock, Upsample


def _middle(channels: int, config: VqConfig) -> nn.Sequential:
    attention = GridAttention(channels, config.groups) if config.attends else nn.Identity()
    return nn.Sequential(
        ResidualBlock(channels, channels, config.groups),
        attention,
        ResidualBlock(channels, channels, config.groups),
    )


def _levels(config: VqConfig, widths: list[int], blocks: list[int], down: bool) -> nn.Sequential:
    """The levels in the order they run in; `widths` begins with that of what enters."""
    resize = Downsample if down else Upsample
    count = len(blocks)
    return nn.Sequential(
        *(
            Level(
                before, width, blocks[index], False,
                resize(width) if index < count - 1 else nn.Identity(), config.groups,
            )
            for index, (before, width) in enumerate(itertools.pairwise(widths))
        )
    )  # fmt: skip


class GridEncoder(nn.Module):
    """
    Pixels (B,3,16h,16w) in [-1,1] → codes (B,h,w,1) int64.

    "sign": bit i of a code, the most significant first, is whether channel i of the latent is over
    0. "nearest": the codebook row at the smallest Euclidean distance, the lowest id of equals;
    `codebook` (C,D) is then the decoder's.
    """

    def __init__(self, config: VqConfig, codebook: nn.Parameter | None, code_dim: int) -> None:
        super().__init__()
        self.config = config
        if codebook is not None:
            self.codebook = codebook
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        blocks = list(config.blocks or [config.residual_blocks] * len(widths))
        self.first = nn.Conv2d(3, config.channels, 3, padding=1)
        self.levels = _levels(config, [config.channels, *widths], blocks, down=True)
        self.middle = _middle(widths[-1], config)
        self.norm = nn.GroupNorm(config.groups, widths[-1], eps=1e-6)
        self.last = nn.Conv2d(widths[-1], config.latent_channels, 3, padding=1)
        self.narrow = nn.Conv2d(config.latent_channels, code_dim, 1)

    def latents(self, pixels: Tensor) -> Tensor:
        """What is quantised, (B,D,h,w)."""
        seen = pixels if self.config.pixels == "signed" else (pixels + 1.0) / 2.0
        x = self.middle(self.levels(self.first(seen)))
        out: Tensor = self.narrow(self.last(F.silu(self.norm(x))))
        return out

    def margins(self, pixels: Tensor) -> Tensor:
        """How near each code (B,h,w,1) was to another one: the smallest |latent|, or by how much
        the next row is further away."""
        latents = self.latents(pixels)
        if self.config.lookup == "sign":
            return latents.abs().amin(dim=1)[..., None]
        nearest = self._squared_distances(latents).clamp_min(0.0).sqrt().topk(2, largest=False)
        return (nearest.values[..., 1] - nearest.values[..., 0])[..., None]

    def forward(self, pixels: Tensor) -> Tensor:
        latents = self.latents(pixels)
        if self.config.lookup == "nearest":
            return self._squared_distances(latents).argmin(dim=-1)[..., None]
        # no power of two needs a table: a graph traced on the meta device has no values to carry
        code = (latents[:, 0] > 0).to(torch.int64)  # Core ML makes integers of zeros_like float
        for channel in range(1, self.config.latent_channels):
            code = 2 * code + (latents[:, channel] > 0).to(torch.int64)
        return code[..., None]

    def _squared_distances(self, latents: Tensor) -> Tensor:
        """(B,h,w,C): |z|² is the same for every row of the codebook, but keeps the scale."""
        rows = latents.permute(0, 2, 3, 1)
        norms = rows.square().sum(dim=-1, keepdim=True) + self.codebook.square().sum(dim=-1)
        return norms - 2.0 * (rows @ self.codebook.T)


class GridDecoder(nn.Module):
    """Codes (B,h,w,1) int64 → pixels (B,3,16h,16w) in [-1,1]."""

    def __init__(self, image: ImageConfig, config: VqConfig) -> None:
        super().__init__()
        self.config, self.code_dim = config, image.codebook.code_dim
        if config.lookup == "nearest":
            self.codebook = nn.Parameter(torch.randn(image.codebook.entries, self.code_dim))
        widths = [config.channels * multiplier for multiplier in reversed(config.multipliers)]
        blocks = list(config.blocks or [config.residual_blocks + 1] * len(widths))[::-1]
        self.widen = nn.Conv2d(self.code_dim, config.latent_channels, 1)
        self.first = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.middle = _middle(widths[0], config)
        self.levels = _levels(config, [widths[0], *widths], blocks, down=False)
        self.norm = nn.GroupNorm(config.groups, widths[-1], eps=1e-6)
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def latents(self, codes: Tensor) -> Tensor:
        """The codes' vectors on their grid, (B,D,h,w): ±1 by their bits, or rows of a codebook."""
        if self.config.lookup == "nearest":
            return F.embedding(codes[..., 0], self.codebook).permute(0, 3, 1, 2)
        bits = [
            torch.div(codes[..., 0], 2**place, rounding_mode="floor") % 2
            for place in reversed(range(self.code_dim))
        ]
        return torch.stack(bits, dim=1).to(torch.float32) * 2.0 - 1.0

    def decoded(self, codes: Tensor) -> Tensor:
        """What the last convolution gives, not clamped, in the network's own range."""
        x = self.levels(self.middle(self.first(self.widen(self.latents(codes)))))
        out: Tensor = self.last(F.silu(self.norm(x)))
        return out

    def forward(self, codes: Tensor) -> Tensor:
        found = self.decoded(codes)
        signed = found if self.config.pixels == "signed" else found * 2.0 - 1.0
        return signed.clamp(-1.0, 1.0)
