"""LlamaGen's VQ-16 (Sun et al., arXiv 2406.06525): pixels to a grid of codes and back, by
convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ImageConfig, VqConfig

GROUPS = 32


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each after GroupNorm and SiLU, in parallel with a shortcut: (B,in,h,w)
    → (B,out,h,w)."""

    def __init__(self, channels_in: int, channels_out: int, groups: int = GROUPS) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in, eps=1e-6)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels_out, eps=1e-6)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.shortcut = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Conv2d(channels_in, channels_out, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))
        return out


class GridAttention(nn.Module):
    """Attention of one head between all places of a grid, after GroupNorm, with a residual:
    (B,C,h,w) → (B,C,h,w)."""

    def __init__(self, channels: int, groups: int = GROUPS) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        query, key, value = (
            project(normed).flatten(2).transpose(1, 2)[:, None]
            for project in (self.query, self.key, self.value)
        )  # (B,1,h·w,C)
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = x + self.out(attended[:, 0].transpose(1, 2).unflatten(2, x.shape[2:]))
        return out


class Upsample(nn.Module):
    """Each pixel becomes four, then a 3×3 convolution: (B,C,h,w) → (B,C,2h,2w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Downsample(nn.Module):
    """A 3×3 convolution of stride 2, padded only on the right and below: (B,C,h,w) →
    (B,C,h/2,w/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Level(nn.Module):
    """One resolution: residual blocks, each followed by attention at the deepest level, then
    `resize` to the next one."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        blocks: int,
        attends: bool,
        resize: nn.Module,
        groups: int = GROUPS,
    ) -> None:
        super().__init__()
        self.residual = nn.ModuleList(
            ResidualBlock(channels_in if index == 0 else channels_out, channels_out, groups)
            for index in range(blocks)
        )
        self.attention = nn.ModuleList(
            GridAttention(channels_out, groups) if attends else nn.Identity() for _ in range(blocks)
        )
        self.resize = resize

    def forward(self, x: Tensor) -> Tensor:
        for residual, attention in zip(self.residual, self.attention, strict=True):
            x = attention(residual(x))
        out: Tensor = self.resize(x)
        return out


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(channels, channels),
        GridAttention(channels),
        ResidualBlock(channels, channels),
    )


class VqEncoder(nn.Module):
    """Pixels (B,3,size,size) in [-1,1] → the nearest codes (B,N,1) int64, row by row. Latents and
    codebook rows are unit vectors.

    `codebook` (C,D) is the decoder's.
    """

    def __init__(self, codebook: nn.Parameter, config: VqConfig) -> None:
        super().__init__()
        self.codebook = codebook
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        self.first = nn.Conv2d(3, config.channels, 3, padding=1)
        resizes = [*map(Downsample, widths[:-1]), nn.Identity()]
        self.levels = nn.Sequential(
            *(
                Level(before, width, config.residual_blocks, index == len(widths) - 1, resize)
                for index, (before, width, resize) in enumerate(
                    zip([config.channels, *widths], widths, resizes, strict=False)
                )
            )
        )
        self.middle = _middle(widths[-1])
        self.norm = nn.GroupNorm(GROUPS, widths[-1], eps=1e-6)
        self.last = nn.Conv2d(widths[-1], config.latent_channels, 3, padding=1)
        self.narrow = nn.Conv2d(config.latent_channels, codebook.shape[1], 1)

    def latents(self, pixels: Tensor) -> Tensor:
        """Unit vectors of the grid's places, (B,N,D)."""
        x = self.middle(self.levels(self.first(pixels)))
        grid: Tensor = self.narrow(self.last(F.silu(self.norm(x))))
        return F.normalize(grid.flatten(2).transpose(1, 2), dim=-1)

    def forward(self, pixels: Tensor) -> Tensor:
        nearest = (self.latents(pixels) @ F.normalize(self.codebook, dim=-1).T).argmax(dim=-1)
        return nearest[:, :, None]


class VqDecoder(nn.Module):
    """Codes (B,N,1) int64, row by row → pixels (B,3,size,size) in [-1,1]. Codebook rows are
    L2-normalised when they are read."""

    def __init__(self, image: ImageConfig, config: VqConfig) -> None:
        super().__init__()
        self.grid = image.grid
        self.codebook = nn.Parameter(torch.randn(image.codebook.entries, image.codebook.code_dim))
        self.widen = nn.Conv2d(image.codebook.code_dim, config.latent_channels, 1)
        widths = [config.channels * multiplier for multiplier in reversed(config.multipliers)]
        deepest, blocks = widths[0], config.residual_blocks + 1
        self.first = nn.Conv2d(config.latent_channels, deepest, 3, padding=1)
        self.middle = _middle(deepest)
        resizes = [*map(Upsample, widths[:-1]), nn.Identity()]
        self.levels = nn.Sequential(
            *(
                Level(before, width, blocks, index == 0, resize)
                for index, (before, width, resize) in enumerate(
                    zip([deepest, *widths], widths, resizes, strict=False)
                )
            )
        )
        self.norm = nn.GroupNorm(GROUPS, widths[-1], eps=1e-6)
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def latents(self, codes: Tensor) -> Tensor:
        """The codes' unit vectors on their grid, (B,D,grid,grid)."""
        rows = F.normalize(F.embedding(codes[:, :, 0], self.codebook), dim=-1)
        grid: Tensor = rows.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return grid

    def pixels(self, latents: Tensor) -> Tensor:
        """Latents on a grid → pixels, not clamped."""
        x = self.levels(self.middle(self.first(self.widen(latents))))
        out: Tensor = self.last(F.silu(self.norm(x)))
        return out

    def forward(self, codes: Tensor) -> Tensor:
        return self.pixels(self.latents(codes)).clamp(-1.0, 1.0)
