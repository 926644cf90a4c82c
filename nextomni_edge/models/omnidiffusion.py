"""Omni-Diffusion (arXiv 2603.06577): Dream's masked transformer over one vocabulary of text, speech
codes and image codes, which an answer may mix, with networks that hear and speak."""

from __future__ import annotations

from torch import nn

from nextomni_edge.config import ModelConfig
from nextomni_edge.models.backbone import Backbone
from nextomni_edge.models.conformer import SpeechCondition
from nextomni_edge.models.grid_codec import GridDecoder, GridEncoder
from nextomni_edge.models.heads import TextEmbedding, text_head
from nextomni_edge.models.sensevoice import Listener
from nextomni_edge.models.speech_flow import SpeechVelocity
from nextomni_edge.models.speech_tokenizer import SpeechTokenizer
from nextomni_edge.models.vocoder import Pitch, Vocoder


class OmniDiffusionModel(nn.Module):
    """Submodules bear the names of `ComponentName`, their forwards the signatures of
    `graphs.graph_specs`. Every answer is embedded and predicted by the one table and the one
    head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.backbone.hidden_size
        self.config = config
        self.embed_text = TextEmbedding(config.text, hidden)
        self.backbone = Backbone(config.backbone)
        self.text_head = text_head(config, self.embed_text)
        image = config.image
        if image.vq is None or image.vq_encoder is None:
            raise ValueError("Omni-Diffusion's config has image.vq and image.vq_encoder")
        self.image_decoder = GridDecoder(image, image.vq)
        self.image_encoder = GridEncoder(image.vq_encoder, None, image.codebook.code_dim)
        speech, entries = config.audio.speech, config.audio.codebook.entries
        if speech is None:
            raise ValueError("Omni-Diffusion's config has audio.speech")
        mels = speech.flow.mels
        self.audio_encoder = Listener(speech.listener, hidden)
        self.audio_quantiser = SpeechTokenizer(speech.tokenizer, entries)
        self.speech_condition = SpeechCondition(speech.flow, entries)
        self.speech_velocity = SpeechVelocity(speech.flow)
        self.speech_pitch = Pitch(speech.vocoder, mels)
        self.vocoder = Vocoder(speech.vocoder, mels)
