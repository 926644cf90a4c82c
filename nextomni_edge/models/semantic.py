"""What is said in a sound: HuBERT (Hsu et al., arXiv 2106.07447), and the convolutions by which
Higgs Audio's codec reads it."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import SemanticConfig
from nextomni_edge.config.codec import PADDING


class Attention(nn.Module):
    """Every row attends to every row."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, rows, width = x.shape

        def split(projected: Tensor) -> Tensor:
            return projected.view(batch, rows, self.heads, width // self.heads).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            split(self.query(x)), split(self.key(x)), split(self.value(x))
        )
        out: Tensor = self.out(attended.transpose(1, 2).reshape(batch, rows, width))
        return out


class Block(nn.Module):
    """Attention and an MLP, each with a residual and a norm behind it."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        width, eps = config.width, config.norm_eps
        self.attention, self.norm = Attention(width, config.heads), nn.LayerNorm(width, eps)
        self.up, self.down = (
            nn.Linear(width, config.mlp_width),
            nn.Linear(config.mlp_width, width),
        )
        self.last_norm = nn.LayerNorm(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x + self.attention(x))
        out: Tensor = self.last_norm(x + self.down(F.gelu(self.up(x))))
        return out


class Hubert(nn.Module):
    """Samples (B,S) → the mean of the states before and behind each block, (B,R,width)."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self.config = config
        widths = itertools.pairwise((1, *config.conv_widths))
        sizes = zip(widths, config.conv_kernels, config.conv_strides, strict=True)
        self.convs = nn.ModuleList(
            nn.Conv1d(*width, kernel, stride, bias=False) for width, kernel, stride in sizes
        )
        self.conv_norm = nn.GroupNorm(config.conv_widths[0], config.conv_widths[0])
        last = config.conv_widths[-1]
        self.project_norm = nn.LayerNorm(last, config.norm_eps)
        self.project = nn.Linear(last, config.width)
        kernel = config.position_kernel
        self.position = nn.Conv1d(
            config.width, config.width, kernel, padding=kernel // 2, groups=config.position_groups
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, samples: Tensor) -> Tensor:
        x = samples[:, None]
        for index, conv in enumerate(self.convs.children()):
            x = conv(x)
            x = F.gelu(self.conv_norm(x) if index == 0 else x)
        x = self.project(self.project_norm(x.transpose(1, 2)))
        placed = self.position(x.transpose(1, 2))
        if self.config.position_kernel % 2 == 0:  # one row too many
            placed = placed[:, :, :-1]
        x = self.norm(x + F.gelu(placed).transpose(1, 2))
        total = x
        for block in self.blocks.children():
            x = block(x)
            total = total + x
        mean: Tensor = total / (self.config.layers + 1)
        return mean


class DilatedUnit(nn.Module):
    """Two convolutions behind ELU, with a residual."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(
            width, width, kernel, dilation=dilation, padding=(kernel - 1) // 2 * dilation,
            bias=False,
        )  # fmt: skip
        self.second = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.elu(self.first(F.elu(x))))
        return out


class UnitBlock(nn.Module):
    """Dilated units, then a convolution of three."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        width = config.width
        self.units = nn.ModuleList(
            DilatedUnit(width, config.unit_kernel, each) for each in config.dilations
        )
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units.children():
            x = unit(x)
        out: Tensor = self.conv(x)
        return out


class SemanticEncoder(nn.Module):
    """Samples (B,S) at the config's rate → latents (B,width,tokens)."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self.config = config
        self.hubert = Hubert(config)
        width, kernel = config.width, config.kernel
        self.first = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.blocks = nn.ModuleList(UnitBlock(config) for _ in range(config.blocks))

    def forward(self, samples: Tensor) -> Tensor:
        heard = self.hubert(F.pad(samples, (PADDING, PADDING)))
        x: Tensor = self.first(heard[:, :: self.config.every].transpose(1, 2))
        for block in self.blocks.children():
            x = block(x)
        return x
