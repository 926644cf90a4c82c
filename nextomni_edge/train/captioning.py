"""Captioning as the semantic loss of a sound's warm-up (METHOD 4): a small decoder says the caption
from the latents, as Whisper's does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ModelConfig
from nextomni_edge.models.transformer import sinusoids

IGNORED = -100  # target of a pad, as in PyTorch's cross-entropy


class CaptionHead(nn.Module):
    """Cross-entropy of each token of a caption, given the latents and the tokens before it. Only
    the warm-up uses it."""

    def __init__(
        self, config: ModelConfig, latent_dim: int, width: int = 256, layers: int = 2
    ) -> None:
        super().__init__()
        self.media = nn.Sequential(nn.LayerNorm(latent_dim), nn.Linear(latent_dim, width))
        self.begin = nn.Parameter(torch.zeros(width))
        self.table = nn.Embedding(config.text.vocabulary_size, width)
        layer = nn.TransformerDecoderLayer(
            width, width // 64, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width))
        nn.init.normal_(self.table.weight, std=width**-0.5)

    def logits(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """Latents (B,N,L) and tokens (B,T) → logits (B,T,V); row i is predicted from the tokens
        before i."""
        begin = self.begin.expand(len(tokens), 1, -1)
        given = torch.cat((begin, self.table(tokens[:, :-1])), dim=1)
        length, width = given.shape[1:]
        memory = self.media(latents)
        x = self.decoder(
            given + sinusoids(length, width, given.device),
            memory + sinusoids(memory.shape[1], width, memory.device),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(length, given.device),
            tgt_is_causal=True,
        )
        return F.linear(x, self.table.weight)

    def forward(self, latents: Tensor, captions: Tensor, offsets: Tensor) -> tuple[Tensor, float]:
        """Latents (B,N,L), captions' ids (n,) with the start of each (B,) → mean cross-entropy of
        a token in nats, and the share of tokens that are the likeliest."""
        parts = list(torch.tensor_split(captions, offsets[1:].cpu()))
        tokens, target = (
            nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)
            for value in (0, IGNORED)
        )
        logits = self.logits(latents, tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)
        right = (logits.argmax(-1) == target).sum() / len(captions)
        return loss, float(right)
