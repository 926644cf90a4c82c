"""The whole model: one submodule per component, so that what is trained is what is exported."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ModelConfig
from nextomni_edge.models.audio import AudioDecoder, AudioEncoder
from nextomni_edge.models.backbone import Backbone
from nextomni_edge.models.codebook import Codebook, CodeEmbedding
from nextomni_edge.models.heads import TextEmbedding, TextHead, code_head
from nextomni_edge.models.vision import ImageDecoder, ImageEncoder


class MetricTables(nn.Module):
    """The frozen tables whose rows' distances define the probability path: text (V,D), image and
    audio (K,C,D) (METHOD 3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        image, audio = config.image.codebook, config.audio.codebook
        self.text = nn.Buffer(torch.randn(config.text.vocabulary_size, config.text.metric_dim))
        self.image = nn.Buffer(torch.randn(image.codebooks, image.entries, image.code_dim))
        self.audio = nn.Buffer(torch.randn(audio.codebooks, audio.entries, audio.code_dim))


class OmniModel(nn.Module):
    """Submodules have the names of `ComponentName`, and their forwards the signatures of
    `graphs.graph_specs`.

    A modality's codebook is one parameter, shared by its projector, encoder and decoder. The text
    head shares the text table where the config ties them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.backbone.hidden_size
        image, audio = Codebook(config.image.codebook), Codebook(config.audio.codebook)
        self.config = config
        self.embed_text = TextEmbedding(config.text, hidden)
        self.embed_image = CodeEmbedding(image, hidden)
        self.embed_audio = CodeEmbedding(audio, hidden)
        self.backbone = Backbone(config.backbone)
        untied = torch.randn(config.text.vocabulary_size, hidden) * hidden**-0.5
        self.text_head = TextHead(
            self.embed_text.weight if config.text.tied_head else nn.Parameter(untied)
        )
        self.image_head = code_head(config.image.head, config.image.codebook, hidden)
        self.audio_head = code_head(config.audio.head, config.audio.codebook, hidden)
        self.image_encoder = ImageEncoder(config.image, image)
        self.image_decoder = ImageDecoder(config.image, image)
        self.audio_encoder = AudioEncoder(config.audio, audio)
        self.audio_decoder = AudioDecoder(config.audio, audio)
        self.metric_tables = MetricTables(config)

    def hidden(
        self, embeddings: Tensor, attention_mask: Tensor, response: Tensor | None = None
    ) -> Tensor:
        """Hidden states (B,S,H) of whole sequences at positions 0 … S−1, without a cache. The mask
        is (B,S) bool.

        `response` (B,S) bool: rows that a model of prefix attention hides from the rows before
        them.
        """
        if response is not None and self.config.backbone.attention == "prefix":
            attention_mask = attention_mask[:, None, :] & (
                response[:, :, None] | ~response[:, None, :]
            )
        batch, length, _ = embeddings.shape
        positions = torch.arange(length, device=embeddings.device).expand(batch, length)
        past = self.backbone.empty_past(batch, embeddings.device)
        out: Tensor = self.backbone(embeddings, positions, attention_mask, past, past)[0]
        return out

    def sequence_embedding(self, hidden: Tensor, last: Tensor) -> Tensor:
        """Retrieval embedding (B,H): the hidden state at each sequence's <EOS> row `last` (B,),
        L2-normalised (METHOD 4)."""
        return F.normalize(hidden[torch.arange(len(last), device=last.device), last], dim=-1)
