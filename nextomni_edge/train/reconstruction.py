"""Warm-up losses of the encoders: reconstruction, quantisation and a semantic loss (METHOD 4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import ModelConfig
from nextomni_edge.models.codebook import quantisation_loss
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.train.flow_loss import contrastive_loss

# more losses of decoded media and the given ones: their sum, and what to log
Further = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, float]]]


def image_reconstruction(
    model: OmniModel, pixels: Tensor, further: Further | None = None
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Loss of reconstructing pixels (B,3,S,S) in [-1,1]; also the quantised latents (B,N,K·D), and
    PSNR in dB.

    L_R is squared error plus the error of image gradients, a perceptual term that keeps outlines.
    `further`: losses of the decoded pixels and the given ones, which are added.
    """
    latents, codes, loss_vq = quantisation_loss(
        model.embed_image.codebook, model.image_encoder.latents(pixels)
    )
    decoded = at_side(model.image_decoder.pixels(latents), pixels.shape[-1])
    error, metrics = picture_error(decoded, pixels)
    metrics["perplexity"] = perplexity(codes, model.config.image.codebook.entries)
    loss = error + loss_vq
    if further is not None:
        more, found = further(decoded, pixels)
        loss, metrics = loss + more, metrics | found
    return loss, latents, metrics


def at_side(pixels: Tensor, side: int) -> Tensor:
    """Pictures (B,3,S,S) that are finer than `side`, which divides S, as means of their pixels
    (B,3,side,side); others as they are."""
    return pixels if pixels.shape[-1] <= side else F.avg_pool2d(pixels, pixels.shape[-1] // side)


def picture_error(decoded: Tensor, pixels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Ten times the squared error, and the error of image gradients; also PSNR in dB."""
    error = (decoded - pixels).pow(2).mean()
    psnr = -10.0 * torch.log10(((decoded.detach().clamp(-1, 1) - pixels) / 2).pow(2).mean() + 1e-9)
    return 10.0 * error + _gradients(decoded, pixels), {"psnr": float(psnr)}


def _gradients(decoded: Tensor, pixels: Tensor) -> Tensor:
    difference = decoded - pixels
    return difference.diff(dim=-2).abs().mean() + difference.diff(dim=-1).abs().mean()


def audio_reconstruction(
    model: OmniModel, log_mel: Tensor, further: Further | None = None
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Loss of reconstructing log-mel (B,N,F,mels); also the quantised latents and the mean absolute
    error. `further`: losses of decoded and given log-mel as planes (B,1,N·F,mels)."""
    latents, codes, loss_vq = quantisation_loss(
        model.embed_audio.codebook, model.audio_encoder.latents(log_mel)
    )
    decoded = model.audio_decoder.log_mel(latents)
    error, metrics = sound_error(decoded, log_mel)
    metrics["perplexity"] = perplexity(codes, model.config.audio.codebook.entries)
    loss = error + loss_vq
    if further is not None:
        more, found = further(plane(decoded), plane(log_mel))
        loss, metrics = loss + more, metrics | found
    return loss, latents, metrics


def plane(log_mel: Tensor) -> Tensor:
    """Log-mel (B,N,F,mels) as one plane (B,1,N·F,mels)."""
    return log_mel.flatten(1, 2)[:, None]


def sound_error(decoded: Tensor, log_mel: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Ten times the squared and three times the absolute error of log-mel; also the latter."""
    error = (decoded - log_mel).abs().mean()
    loss = 10.0 * (decoded - log_mel).pow(2).mean() + 3.0 * error
    return loss, {"mel_error": float(error.detach())}


def perplexity(codes: Tensor, entries: int) -> float:
    """Mean over codebooks of exp(entropy) of the sub-codes' use (B,N,K); `entries` where all are
    used equally."""
    flat = codes.flatten(0, 1)
    values = []
    for column in flat.T:
        share = torch.bincount(column, minlength=entries).float() / len(column)
        values.append(float(torch.exp(-(share * (share + 1e-9).log()).sum())))
    return sum(values) / len(values)


class SemanticHead(nn.Module):
    """CLIP-style pairing of a medium's mean latent with its name's bag of tokens. Only the warm-up
    uses it."""

    def __init__(self, config: ModelConfig, latent_dim: int, width: int = 64) -> None:
        super().__init__()
        self.media = nn.Sequential(
            nn.LayerNorm(latent_dim),
            nn.Linear(latent_dim, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.text = nn.EmbeddingBag(config.text.vocabulary_size, width, mode="mean")

    def forward(self, latents: Tensor, names: Tensor, offsets: Tensor) -> tuple[Tensor, float]:
        """Latents (B,N,L), names' ids (n,) with the start of each (B,) → contrastive loss and
        top-1."""
        media = F.normalize(self.media(latents.mean(dim=1)), dim=-1)
        return contrastive_loss(media, F.normalize(self.text(names, offsets), dim=-1))
