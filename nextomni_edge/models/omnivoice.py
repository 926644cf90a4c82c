"""OmniVoice (k2-fsa): a Qwen3 backbone without mask that reads text and the codes of a sound, and
fills in the codes of another sound, with Higgs Audio's codec."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextomni_edge.config import CodebookConfig, ModelConfig
from nextomni_edge.models.backbone import Backbone
from nextomni_edge.models.heads import TextEmbedding
from nextomni_edge.models.speech_codec import CodecDecoder, CodecEncoder


class CodeSum(nn.Module):
    """K tables of C rows, one below the other; a token is the sum of its sub-codes' rows."""

    def __init__(self, codebook: CodebookConfig, hidden_size: int) -> None:
        super().__init__()
        self.codebook = codebook
        rows = codebook.codebooks * codebook.entries
        self.weight = nn.Parameter(torch.randn(rows, hidden_size) * 0.02)

    def forward(self, codes: Tensor) -> Tensor:
        """(B,R,K) int64 → (B,R,H)."""
        places = torch.arange(self.codebook.codebooks, device=codes.device)
        rows = nn.functional.embedding(codes + places * self.codebook.entries, self.weight)
        return rows.sum(dim=2)


class LinearHead(nn.Module):
    """Hidden (B,R,H) → logits (B,R,K,C), one matrix without bias for all K sub-codes."""

    def __init__(self, codebook: CodebookConfig, hidden_size: int) -> None:
        super().__init__()
        self.codebook = codebook
        rows = codebook.codebooks * codebook.entries
        self.weight = nn.Parameter(torch.randn(rows, hidden_size) * hidden_size**-0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        logits = nn.functional.linear(hidden, self.weight)
        books, entries = self.codebook.codebooks, self.codebook.entries
        unflattened: Tensor = logits.unflatten(2, (books, entries))
        return unflattened


class OmniVoiceModel(nn.Module):
    """Submodules bear the names of `ComponentName`, their forwards the signatures of
    `graphs.graph_specs`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden, audio = config.backbone.hidden_size, config.audio
        if audio.codec is None:
            raise ValueError("OmniVoice's config has audio.codec")
        self.config = config
        self.embed_text = TextEmbedding(config.text, hidden)
        self.embed_audio = CodeSum(audio.codebook, hidden)
        self.backbone = Backbone(config.backbone)
        self.audio_head = LinearHead(audio.codebook, hidden)
        self.audio_encoder = CodecEncoder(audio.codec, audio.codebook.codebooks, audio.sample_rate)
        self.audio_decoder = CodecDecoder(audio.codec, self.audio_encoder.tables)
