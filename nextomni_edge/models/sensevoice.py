"""SenseVoice's encoder (An et al., arXiv 2407.04051) and the projector behind it: a sound as rows
that the backbone reads."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ListenerConfig
from nextomni_edge.models.transformer import sinusoids_of


class MemoryAttention(nn.Module):
    """Self-attention of x (B,S,in) → (B,S,width), to which a depthwise convolution of the values
    and the values themselves are added (SAN-M, arXiv 2006.01713)."""

    def __init__(self, size_in: int, config: ListenerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(size_in, 3 * config.width)
        self.memory = nn.Conv1d(
            config.width, config.width, config.kernel, groups=config.width, bias=False,
            padding=config.kernel // 2,
        )  # fmt: skip
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        remembered = self.memory(value.transpose(1, 2)).transpose(1, 2) + value
        split = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        attended = F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
        out: Tensor = self.out(attended) + remembered
        return out


class ListenerBlock(nn.Module):
    """Pre-norm attention and ReLU MLP. A block that changes the width has no residual around its
    attention."""

    def __init__(self, size_in: int, config: ListenerConfig) -> None:
        super().__init__()
        self.residual = size_in == config.width
        self.norm1 = nn.LayerNorm(size_in, eps=1e-5)
        self.attention = MemoryAttention(size_in, config)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-5)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attention(self.norm1(x))
        x = x + attended if self.residual else attended
        out: Tensor = x + self.down(F.relu(self.up(self.norm2(x))))
        return out


class Listener(nn.Module):
    """Filter-bank rows (B,N,row_size) → rows (B,Q+N,H) of the backbone; Q query rows stand first.
    All rows of a call are of sound: several of unequal length are several calls."""

    def __init__(self, config: ListenerConfig, hidden_size: int) -> None:
        super().__init__()
        self.config = config
        first = ListenerBlock(config.row_size, config)
        rest = (ListenerBlock(config.width, config) for _ in range(config.blocks - 1))
        self.queries = nn.Parameter(torch.randn(config.query_rows, config.row_size))
        self.blocks = nn.Sequential(first, *rest)
        self.norm = nn.LayerNorm(config.width, eps=1e-5)
        self.more = nn.Sequential(
            *(ListenerBlock(config.width, config) for _ in range(config.more_blocks))
        )
        self.last_norm = nn.LayerNorm(config.width, eps=1e-5)
        self.projector_norm = nn.LayerNorm(config.width, eps=1e-5)
        self.widen = nn.Linear(config.width, hidden_size, bias=False)
        self.project = nn.Linear(hidden_size, hidden_size, bias=False)

    def heard(self, features: Tensor) -> Tensor:
        """Before the projector, (B,Q+N,width)."""
        chosen = torch.stack([self.queries[row] for row in self.config.queries])
        x = torch.cat((chosen.expand(features.shape[0], -1, -1), features), dim=1)
        x = x * math.sqrt(self.config.width)
        positions = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=torch.float32)
        x = x + sinusoids_of(positions, x.shape[2])
        out: Tensor = self.last_norm(self.more(self.norm(self.blocks(x))))
        return out

    def forward(self, features: Tensor) -> Tensor:
        normed = self.projector_norm(self.heard(features))
        out: Tensor = self.project(F.gelu(self.widen(normed)))
        return out
