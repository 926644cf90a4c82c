"""GLM-4-Voice's speech tokenizer (Zeng et al., arXiv 2412.02612): the first half of Whisper's
encoder, averaged over time, to the nearest rows of a codebook."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import SpeechTokenizerConfig

FRAMES: int = 2  # log-mel frames of one row: the second convolution halves their rate


class TokenizerLayer(nn.Module):
    """Whisper's pre-norm block under a mask (B,1,S,S) bool of what each row sees."""

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.attention_norm = nn.LayerNorm(width, eps=1e-5)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-5)
        self.up = nn.Linear(width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.attention_norm(x)
        query, key, value = (
            project(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(F.gelu(self.up(self.mlp_norm(x))))
        return out


def block_causal(rows: int, block: int, device: torch.device) -> Tensor:
    """(rows,rows) bool: each row sees those before it, and the whole block it stands in."""
    places = torch.arange(rows, device=device)
    blocks = torch.div(places, block, rounding_mode="floor")
    return (places[None, :] <= places[:, None]) | (blocks[None, :] == blocks[:, None])


class SpeechTokenizer(nn.Module):
    """Log-mel (B,N,2·pool,mels) of N tokens of a sound → codes (B,N,1) int64. `attention_mask`
    (B,N,pool) is False at rows of the silence that fills the last token. A sound of more than
    `positions` rows comes in pieces, each a call of its own."""

    def __init__(self, config: SpeechTokenizerConfig, entries: int) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv1d(config.mels, config.width, 3)
        self.second = nn.Conv1d(config.width, config.width, 3, stride=FRAMES)
        self.positions = nn.Parameter(torch.randn(config.positions, config.width))
        self.layers = nn.ModuleList(TokenizerLayer(config) for _ in range(config.layers))
        self.codebook = nn.Parameter(torch.randn(entries, config.width))

    def latents(self, log_mel: Tensor, attention_mask: Tensor) -> Tensor:
        """What is quantised, (B,N,width)."""
        mel = log_mel.flatten(1, 2).transpose(1, 2)
        x = F.gelu(self.first(F.pad(mel, (2, 0))))
        x = F.gelu(self.second(F.pad(x, (2, 0)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        mask = block_causal(x.shape[1], self.config.block, x.device)
        mask = mask & attention_mask.flatten(1)[:, None, None, :]
        for layer in self.layers.children():
            x = layer(x, mask)
        pooled: Tensor = x.unflatten(1, (-1, self.config.pool)).mean(dim=2)
        return pooled

    def forward(self, log_mel: Tensor, attention_mask: Tensor) -> Tensor:
        latents = self.latents(log_mel, attention_mask)
        distances = self.codebook.square().sum(dim=-1) - 2.0 * (latents @ self.codebook.T)
        return distances.argmin(dim=-1)[..., None]
