"""The warm-up of one modality's encoder, codebook and decoder (METHOD 4)."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from nextomni_edge.models.omni import OmniModel
from nextomni_edge.train.adversary import Adversary
from nextomni_edge.train.captioning import CaptionHead
from nextomni_edge.train.perceptual import Perceptual
from nextomni_edge.train.reconstruction import (
    SemanticHead,
    audio_reconstruction,
    image_reconstruction,
)

SEMANTIC_WEIGHT = 0.05


class WarmUp(nn.Module):
    """Reconstruction, quantisation and a semantic loss: contrastive for "image", captioning for
    "audio", or what `head` makes. It holds no part of the model but the encoder and decoder, which
    share the codebook. `perceptual`: weight of a picture's perceptual distance, by the encoder as
    it stands now. `critic`: of pixels (three channels) or of log-mel (one); it is no part of the
    model either."""

    def __init__(
        self,
        modality: str,
        model: OmniModel,
        perceptual: float = 0.0,
        head: type[SemanticHead | CaptionHead] | None = None,
        critic: Adversary | None = None,
    ) -> None:
        super().__init__()
        self.encoder = model.get_submodule(f"{modality}_encoder")
        self.decoder = model.get_submodule(f"{modality}_decoder")
        latent = model.config.coded(modality).codebook.latent_dim
        head = head or (SemanticHead if modality == "image" else CaptionHead)
        self.semantic: nn.Module = head(model.config, latent)
        self.perceptual: Perceptual | None = None
        if modality == "image" and perceptual:
            self.perceptual = Perceptual(model.image_encoder)
        self.critic, self.weight = critic, perceptual
        reconstruction = image_reconstruction if modality == "image" else audio_reconstruction
        self.reconstruct = functools.partial(reconstruction, model, further=self.further)

    def further(self, decoded: Tensor, given: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The losses next to the reconstruction's own, zero without any."""
        total, found = decoded.new_zeros(()), {}
        if self.perceptual is not None:
            distance = self.weight * self.perceptual(decoded, given)
            total, found = total + distance, {"perceptual": float(distance.detach())}
        if self.critic is not None:
            told, said = self.critic(decoded, given)
            total, found = total + told, found | said
        return total, found

    def forward(
        self, media: Tensor, captions: Tensor, offsets: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of pixels (B,3,S,S) or log-mel (B,N,F,mels) with their captions' tokens, flat (n,),
        and where each begins (B,)."""
        reconstructed, latents, metrics = self.reconstruct(media)
        semantic, top1 = self.semantic(latents, captions, offsets)
        found = {"semantic": float(semantic.detach()), "top1": top1}
        return reconstructed + SEMANTIC_WEIGHT * semantic, metrics | found
