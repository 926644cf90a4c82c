"""Qwen2-type backbone: every row attends to every attended column (METHOD 2). In a causal backbone
it attends to the columns up to itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import BackboneConfig


class RMSNorm(nn.Module):
    """x · weight / sqrt(mean(x²) + eps) over the last axis (Zhang and Sennrich, arXiv
    1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class _Unchanged(nn.Module):
    """In place of a norm that a backbone does not have."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


def rotary(positions: Tensor, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin of rotary position embedding (Su et al., arXiv 2104.09864), (B,1,S,head_dim)
    float32, from positions (B,S) int64.

    Computed in the forward, never a buffer: a graph traced on the meta device has no values to
    carry.
    """
    exponents = (
        torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    )
    angles = positions[:, None, :, None].float() * torch.pow(base, -exponents)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary embedding in the half-split convention of Qwen2 and LLaMA."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def causal_mask(rows: int, past: int, device: torch.device) -> Tensor:
    """(rows, past + rows) bool: each row sees the whole past, itself, and the rows before it."""
    columns = torch.arange(past + rows, device=device)
    return columns[None, :] <= past + torch.arange(rows, device=device)[:, None]


class Attention(nn.Module):
    """Grouped-query attention. The caller's past keys and values come before the rows' own. With
    `qk_norm` each head's query and key are normalised before they are rotated."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        query, cache = config.query_heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, cache, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, cache, bias=config.qkv_bias)
        self.o_proj = nn.Linear(query, config.hidden_size, bias=False)
        norm = RMSNorm if config.qk_norm else _Unchanged
        self.q_norm = norm(config.head_dim, config.rms_norm_eps)
        self.k_norm = norm(config.head_dim, config.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor,
        past_key: Tensor,
        past_value: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, rows, _ = x.shape

        def heads(projected: Tensor) -> Tensor:
            # the number of heads stands in the graph as a constant: OpenVINO expands grouped keys
            # only where it can read it
            return projected.view(
                batch, rows, projected.shape[-1] // self.config.head_dim, self.config.head_dim
            ).transpose(1, 2)

        query, key, value = (
            rotate(self.q_norm(heads(self.q_proj(x))), *rope),
            rotate(self.k_norm(heads(self.k_proj(x))), *rope),
            heads(self.v_proj(x)),
        )
        attended = F.scaled_dot_product_attention(
            query,
            torch.cat((past_key, key), dim=2),
            torch.cat((past_value, value), dim=2),
            attn_mask=mask,
            enable_gqa=self.config.kv_heads != self.config.query_heads,
        )
        return self.o_proj(attended.transpose(1, 2).reshape(batch, rows, -1)), key, value


class SwiGLU(nn.Module):
    """Gated MLP (Shazeer, arXiv 2002.05202)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.mlp_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.mlp_size, bias=False)
        self.down_proj = nn.Linear(config.mlp_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Pre-norm attention and MLP with residuals."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor,
        past_key: Tensor,
        past_value: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        attended, key, value = self.self_attn(
            self.input_layernorm(x), rope, mask, past_key, past_value
        )
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), key, value


class Backbone(nn.Module):
    """The shared network. Its parameters have the names that `transformers` uses for Qwen2."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor,
        attention_mask: Tensor,
        past_keys: Tensor,
        past_values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B,S,H), (B,S) int64, (B,P+S) bool, and past keys and values
        (layers,B,kv_heads,P,head_dim).

        Returns hidden states (B,S,H) after the final norm, and the rows' own keys (rotated) and
        values, (layers,B,kv_heads,S,head_dim). P may be 0. In training the mask may differ by row,
        (B,S,P+S).
        """
        rope = rotary(positions, self.config.head_dim, self.config.rope_base)
        # ONNX Runtime's Attention broadcasts a mask over heads, but not over rows.
        shared = attention_mask.dim() == 2
        mask = (
            attention_mask[:, None, None, :].expand(-1, 1, embeddings.shape[1], -1)
            if shared
            else attention_mask[:, None]
        )
        if self.config.attention == "causal":
            mask = mask & causal_mask(positions.shape[1], past_keys.shape[3], positions.device)
        x, keys, values = embeddings, [], []
        for index, layer in enumerate(self.layers.children()):
            x, key, value = layer(x, rope, mask, past_keys[index], past_values[index])
            keys.append(key)
            values.append(value)
        return self.norm(x), torch.stack(keys), torch.stack(values)

    def empty_past(self, batch: int, device: torch.device | None = None) -> Tensor:
        """Past keys (or values) without any position."""
        config = self.config
        return torch.zeros(config.layers, batch, config.kv_heads, 0, config.head_dim, device=device)
