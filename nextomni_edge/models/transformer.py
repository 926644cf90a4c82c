"""The plain pre-norm transformer block of encoders, decoders and the autoregressive head."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import TransformerConfig


class Block(nn.Module):
    """Pre-norm self-attention and MLP (four times the width, or `mlp_width`) with residuals;
    (B,N,width) → (B,N,width)."""

    def __init__(
        self,
        width: int,
        heads: int,
        causal: bool = False,
        eps: float = 1e-5,
        activation: str = "gelu",
        mlp_width: int | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1 = nn.LayerNorm(width, eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps)
        inner = 4 * width if mlp_width is None else mlp_width
        self.mlp = nn.Sequential(
            nn.Linear(width, inner), _activation(activation), nn.Linear(inner, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class QuickGelu(nn.Module):
    """x·σ(1.702·x), the GELU of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def _activation(name: str) -> nn.Module:
    return {"gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"), "quick_gelu": QuickGelu()}[name]


class Transformer(nn.Module):
    """A stack of blocks and a final LayerNorm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(
                config.width,
                config.heads,
                eps=config.norm_eps,
                activation=config.activation,
                mlp_width=config.mlp_width,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Whisper's sinusoidal positions, (length, width) float32."""
    return sinusoids_of(torch.arange(length, device=device, dtype=torch.float32), width)


def sinusoids_of(positions: Tensor, width: int) -> Tensor:
    """Sine, then cosine of positions (N,) at wavelengths from 2π to 10,000·2π, (N,width)
    float32."""
    half = width // 2
    rates = torch.exp(
        torch.arange(half, device=positions.device, dtype=torch.float32)
        * (-math.log(10_000.0) / (half - 1))
    )
    angles = positions[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)
