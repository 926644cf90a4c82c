"""Heads: hidden states to logits of x_1, for text and for sub-codes in both of METHOD 2's forms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextomni_edge.config import CodebookConfig, HeadConfig, ModelConfig, TextConfig
from nextomni_edge.models.transformer import Block


class TextEmbedding(nn.Module):
    """The text table."""

    def __init__(self, config: TextConfig, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(config.vocabulary_size, hidden_size) * 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B,S) int64 → (B,S,H)."""
        return nn.functional.embedding(tokens, self.weight)


class TextHead(nn.Module):
    """Hidden (B,R,H) → logits (B,R,V); the weight is the text table's where tied."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.weight)


def text_head(config: ModelConfig, table: TextEmbedding) -> TextHead:
    """The head of the whole vocabulary: the table itself where the two are tied."""
    untied = torch.randn(table.weight.shape) * config.backbone.hidden_size**-0.5
    return TextHead(table.weight if config.text.tied_head else nn.Parameter(untied))


class ParallelHead(nn.Module):
    """K independent sub-heads after a shared MLP: hidden (B,R,H) → logits (B,R,K,C)."""

    def __init__(self, config: HeadConfig, codebook: CodebookConfig, hidden_size: int) -> None:
        super().__init__()
        self.codebook = codebook
        self.body = nn.Sequential(
            nn.Linear(hidden_size, config.width), nn.GELU(), nn.LayerNorm(config.width)
        )
        self.out = nn.Linear(config.width, codebook.codebooks * codebook.entries)

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.out(self.body(hidden))
        unflattened: Tensor = logits.unflatten(2, (self.codebook.codebooks, self.codebook.entries))
        return unflattened


class AutoregressiveHead(nn.Module):
    """A small causal transformer over a position's sub-codes: the logits of sub-code k see the
    hidden state and the sub-codes before k.

    hidden (B,R,H), codes (B,R,K) int64 → logits (B,R,K,C). Nothing reads the last sub-code.
    """

    def __init__(self, config: HeadConfig, codebook: CodebookConfig, hidden_size: int) -> None:
        super().__init__()
        self.codebook = codebook
        count, entries = codebook.codebooks, codebook.entries
        self.condition = nn.Linear(hidden_size, config.width)
        self.slots = nn.Parameter(torch.randn(count, config.width) * 0.02)
        self.embedding = nn.Parameter(torch.randn(count * entries, config.width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, causal=True) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Parameter(torch.randn(count, config.width, entries) * config.width**-0.5)
        self.bias = nn.Parameter(torch.zeros(count, entries))

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        batch, rows, _ = hidden.shape
        count, entries = self.codebook.codebooks, self.codebook.entries
        offsets = torch.arange(count, device=codes.device) * entries
        earlier = nn.functional.embedding(codes + offsets, self.embedding)[:, :, :-1]
        earlier = nn.functional.pad(earlier, (0, 0, 1, 0))
        x = (self.condition(hidden)[:, :, None] + earlier + self.slots).flatten(0, 1)
        for block in self.blocks:
            x = block(x)
        logits = torch.einsum("nkw,kwc->nkc", self.norm(x), self.out) + self.bias
        unflattened: Tensor = logits.unflatten(0, (batch, rows))
        return unflattened


def code_head(config: HeadConfig, codebook: CodebookConfig, hidden_size: int) -> nn.Module:
    """The head that the config names."""
    kinds = {"parallel": ParallelHead, "autoregressive": AutoregressiveHead}
    return kinds[config.kind](config, codebook, hidden_size)
