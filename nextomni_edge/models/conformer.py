"""The encoder of speech codes in front of a continuous flow (CosyVoice, arXiv 2407.05407): a
conformer without convolutions, with relative positions (arXiv 1901.02860)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import SpeechFlowConfig
from nextomni_edge.models.speech_tokenizer import block_causal


def relative_positions(rows: int, width: int, device: torch.device) -> Tensor:
    """(2·rows−1,width) float32: sine and cosine in turn of the distances rows−1 down to
    1−rows."""
    rates = torch.exp(
        torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-math.log(1e4) / width)
    )
    distances = (rows - 1) - torch.arange(2 * rows - 1, device=device)
    angles = distances.to(torch.float32)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)


def by_distance(scores: Tensor) -> Tensor:
    """Scores (B,h,S,2S−1) of distances as scores (B,h,S,S) of columns: column j of row i is the
    distance i−j (Transformer-XL's shift)."""
    batch, heads, rows, distances = scores.shape
    padded = F.pad(scores, (1, 0)).reshape(batch, heads, distances + 1, rows)
    return padded[:, :, 1:].reshape(batch, heads, rows, distances)[..., :rows]


class RelativeAttention(nn.Module):
    """Attention whose scores add the content's and the distance's, each with a bias of its own."""

    def __init__(self, config: SpeechFlowConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.distance = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.content_bias = nn.Parameter(torch.zeros(self.heads, width // self.heads))
        self.distance_bias = nn.Parameter(torch.zeros(self.heads, width // self.heads))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        places = self.distance(positions)[None].unflatten(2, (self.heads, -1)).transpose(1, 2)
        content = (query + self.content_bias[:, None]) @ key.transpose(2, 3)
        distance = (query + self.distance_bias[:, None]) @ places.transpose(2, 3)
        scores = (content + by_distance(distance)) / math.sqrt(key.shape[3])
        weight = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
        out: Tensor = self.out((weight @ value).transpose(1, 2).flatten(2))
        return out


class ConformerLayer(nn.Module):
    """Pre-norm attention and SiLU MLP with residuals."""

    def __init__(self, config: SpeechFlowConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=1e-12)
        self.attention = RelativeAttention(config)
        self.mlp_norm = nn.LayerNorm(config.width, eps=1e-12)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), positions, mask)
        out: Tensor = x + self.down(F.silu(self.up(self.mlp_norm(x))))
        return out


class SpeechCondition(nn.Module):
    """Codes (B,N) int64 and, of every mel frame, the code it belongs to, (B,T) int64 → what the
    flow is conditioned on, (B,2·mels,T): the spectrogram's mean and the speaker.

    No speaker is given, so the speaker's vector is its layer's bias.
    """

    def __init__(self, config: SpeechFlowConfig, entries: int) -> None:
        super().__init__()
        self.config = config
        width, mels = config.width, config.mels
        self.table = nn.Parameter(torch.randn(entries, width))
        self.embed = nn.Linear(width, width)
        self.embed_norm = nn.LayerNorm(width, eps=1e-5)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.project = nn.Linear(width, mels)
        self.smooth = nn.ModuleList(nn.Conv1d(mels, mels, 3, padding=1) for _ in range(4))
        self.smooth_norms = nn.ModuleList(nn.GroupNorm(1, mels) for _ in range(4))
        self.last = nn.Conv1d(mels, mels, 1)
        self.speaker = nn.Parameter(torch.zeros(mels))

    def encoded(self, codes: Tensor) -> Tensor:
        """(B,N,width)."""
        x = self.embed_norm(self.embed(F.embedding(codes, self.table)))
        rows, width = x.shape[1], self.config.width
        x = x * math.sqrt(width)
        positions = relative_positions(rows, width, x.device)
        mask = block_causal(rows, self.config.block, x.device)
        for layer in self.layers.children():
            x = layer(x, positions, mask)
        out: Tensor = self.norm(x)
        return out

    def forward(self, codes: Tensor, places: Tensor) -> Tensor:
        means = self.project(self.encoded(codes))
        x = means.gather(1, places[..., None].expand(-1, -1, means.shape[2])).transpose(1, 2)
        for convolve, norm in zip(self.smooth, self.smooth_norms, strict=True):
            x = F.mish(norm(convolve(x)))
        mean = self.last(x)
        return torch.cat((mean, self.speaker[None, :, None].expand_as(mean)), dim=1)
