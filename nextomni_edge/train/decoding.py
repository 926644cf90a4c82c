"""Training of a decoder and nothing else: the codes stay as they are, and are decoded better."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextomni_edge.models.omni import OmniModel
from nextomni_edge.train.adversary import Adversary
from nextomni_edge.train.reconstruction import at_side, picture_error, plane, sound_error


class Decoding(nn.Module):
    """Reconstruction of media from their codes, by decoders that learn while encoders, codebooks
    and backbone do not. So no token changes, and what was verified of tokens still holds.
    `critics`: by modality, of pixels (three channels) or of log-mel (one); no part of the model."""

    def __init__(self, model: OmniModel, critics: dict[str, Adversary] | None = None) -> None:
        super().__init__()
        self.critics = nn.ModuleDict(critics or {})
        self.image, self.audio = model.image_decoder, model.audio_decoder
        # not registered: what a module holds is trained
        self.encoded = {"image": model.image_encoder.forward, "audio": model.audio_encoder.forward}

    def forward(self, modality: str, media: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The loss of pixels (B,3,side,side) in [-1,1] as they are to be drawn, or of log-mel
        (B,N,F,mels), and what to log."""
        decoder = self.image if modality == "image" else self.audio
        given = at_side(media, self.image.config.size) if modality == "image" else media
        with torch.no_grad():
            latents = decoder.codebook.decode(self.encoded[modality](given))
        if modality == "image":
            decoded = self.image.pixels(latents)
            loss, found = picture_error(decoded, media)
        else:
            decoded = self.audio.log_mel(latents)
            loss, found = sound_error(decoded, media)
            decoded, media = plane(decoded), plane(media)
        if modality in self.critics:
            told, said = self.critics[modality](decoded, media)
            loss, found = loss + told, found | said
        return loss, {f"{modality}_{name}": value for name, value in found.items()}
