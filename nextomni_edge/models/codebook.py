"""Multi-codebook quantisation (MCQ): each of a latent's K chunks is snapped to its own codebook
(UniTok, arXiv 2502.20321)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import CodebookConfig


class Codebook(nn.Module):
    """K codebooks of C unit vectors. One instance is shared by a modality's encoder, decoder and
    projector."""

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        self.entries = nn.Parameter(
            F.normalize(torch.randn(config.codebooks, config.entries, config.code_dim), dim=-1)
        )

    def unit(self) -> Tensor:
        """The codebooks' L2-normalised rows, (K,C,D)."""
        return F.normalize(self.entries, dim=-1)

    def similarity(self, latents: Tensor) -> Tensor:
        """Cosine of each chunk of latents (B,N,K·D) to its codebook's rows, (B,N,K,C)."""
        batch, length, _ = latents.shape
        chunks = F.normalize(
            latents.view(batch, length, self.config.codebooks, self.config.code_dim), dim=-1
        )
        return torch.einsum("bnkd,kcd->bnkc", chunks, self.unit())

    def encode(self, latents: Tensor) -> Tensor:
        """Latents (B,N,K·D) → the nearest sub-codes (B,N,K) int64."""
        return self.similarity(latents).argmax(dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Sub-codes (B,N,K) int64 → their unit vectors, concatenated, (B,N,K·D)."""
        offsets = torch.arange(self.config.codebooks, device=codes.device) * self.config.entries
        rows = F.embedding(codes + offsets, self.unit().flatten(0, 1))
        return rows.flatten(2)


class CodeEmbedding(nn.Module):
    """What the backbone sees of visual and audio tokens: codebook vectors through a light projector
    (METHOD 1)."""

    def __init__(self, codebook: Codebook, hidden_size: int) -> None:
        super().__init__()
        self.codebook = codebook
        self.projector = nn.Sequential(
            nn.Linear(codebook.config.latent_dim, hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, hidden_size),
        )

    def forward(self, codes: Tensor) -> Tensor:
        """(B,S,K) int64 → (B,S,H)."""
        out: Tensor = self.projector(self.codebook.decode(codes))
        return out


def quantisation_loss(codebook: Codebook, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Straight-through quantisation for training: (quantised (B,N,K·D), codes (B,N,K), L_VQ
    scalar).

    L_VQ is the codebook and commitment loss on the unit sphere, with an entropy term that keeps
    every entry in use. The soft assignment pulls rarely chosen rows toward the latents (the entropy
    penalty of arXiv 2310.05737).
    """
    similarity = codebook.similarity(latents)
    codes = similarity.argmax(dim=-1)
    rows = codebook.decode(codes)
    unit = F.normalize(latents.unflatten(2, (codebook.config.codebooks, -1)), dim=-1).flatten(2)
    codebook_loss = (rows - unit.detach()).pow(2).mean() + 0.25 * (rows.detach() - unit).pow(
        2
    ).mean()
    soft = (similarity * 20.0).softmax(dim=-1)
    usage = soft.mean(dim=(0, 1))
    sample_entropy = -(soft * (soft + 1e-9).log()).sum(dim=-1).mean()
    usage_entropy = -(usage * (usage + 1e-9).log()).sum(dim=-1).mean()
    loss = codebook.config.code_dim * codebook_loss + 0.02 * sample_entropy - 0.1 * usage_entropy
    return unit + (rows - unit).detach(), codes, loss
