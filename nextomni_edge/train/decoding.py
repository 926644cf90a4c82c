"""Training of a decoder and nothing else: the codes stay as they are, and are decoded better."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextomni_edge.models.omni import OmniModel
from nextomni_edge.train.reconstruction import at_side, picture_error, sound_error


class Decoding(nn.Module):
    """Reconstruction of media from their codes, by decoders that learn while encoders, codebooks
    and backbone do not. So no token changes, and what was verified of tokens still holds."""

    def __init__(self, model: OmniModel) -> None:
        super().__init__()
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
            loss, found = picture_error(self.image.pixels(latents), media)
        else:
            loss, found = sound_error(self.audio.log_mel(latents), media)
        return loss, {f"{modality}_{name}": value for name, value in found.items()}
