"""One training step's loss as a module, so that `accelerate` can wrap it for any number of
devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from nextomni_edge.errors import UsageError
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.sequence import Ids, Sequence, unconditional
from nextomni_edge.tokens.text import SpecialTokens
from nextomni_edge.train.batch import collate, embed
from nextomni_edge.train.flow_loss import LATEST, Corruption, contrastive_loss, flow_loss
from nextomni_edge.train.gradnorm import GradNorm
from nextomni_edge.train.reconstruction import audio_reconstruction, image_reconstruction

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Draw:
    """What a recipe gives for one step: media to encode, and a function that builds sequences from
    their sub-codes.

    `pixels` (n,3,S,S) in [-1,1], `log_mel` (n,N,F,mels). `build(image codes, audio codes)` returns
    one list of sequences for a flow task, or two aligned lists for a contrastive one.
    """

    task: str
    build: Callable[[Ids, Ids], tuple[list[Sequence], ...]]
    pixels: Float32 | None = None
    log_mel: Float32 | None = None


class Objective(nn.Module):
    """L = λ1·L_ce + λ2·L_rec^vision + λ3·L_rec^audio with λ by GradNorm, or the contrastive loss of
    retrieval (METHOD 4)."""

    def __init__(
        self,
        model: OmniModel,
        special: SpecialTokens,
        condition_dropout: float,
        t_power: float = 1.0,
    ) -> None:
        """`t_power`: t = u^t_power for a uniform u. A value over 1 draws early times more often.
        There only the condition determines x_1."""
        super().__init__()
        self.model = model
        self.special, self.condition_dropout, self.t_power = special, condition_dropout, t_power
        self.balance = GradNorm(("ce", "image", "audio"))
        self.corruption = Corruption(model.config, model.metric_tables)

    def forward(
        self, draw: Draw, rng: np.random.Generator, reconstruct: bool
    ) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss and what to log. Every random draw comes from `rng`, so that a step can be
        repeated."""
        sides = draw.build(*self.encode(draw))
        if len(sides) == 2:
            loss, top1 = contrastive_loss(self.embeddings(sides[0]), self.embeddings(sides[1]))
            return loss, {"contrastive": float(loss.detach()), "top1": top1}
        embeddings: list[Tensor] = []
        seen = self.model.backbone.register_forward_pre_hook(
            lambda _, given: embeddings.append(given[0])
        )
        loss, metrics = (
            self.next_token(sides[0]) if self.model.config.causal else self.flow(sides[0], rng)
        )
        seen.remove()
        if reconstruct:
            return self.with_reconstruction(loss, metrics, draw, embeddings[0])
        return loss, metrics

    @property
    def in_shares(self) -> bool:
        return isinstance(self, FSDPModule)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def encode(self, draw: Draw) -> tuple[Ids, Ids]:
        """Sub-codes of the media, (n,N,K) each; empty where there are none."""

        def codes(encoder: nn.Module, media: Float32 | None) -> Ids:
            if media is None:
                return np.zeros((0, 0, 0), np.int64)
            found: Ids = encoder(torch.from_numpy(media).to(self.device)).cpu().numpy()
            return found

        return codes(self.model.image_encoder, draw.pixels), codes(
            self.model.audio_encoder, draw.log_mel
        )

    def embeddings(self, sequences: list[Sequence]) -> Tensor:
        """Retrieval embeddings (B,H)."""
        batch = collate(sequences, self.model.config).to(self.device)
        return self.model.sequence_embedding(
            self.model.hidden(embed(self.model, batch), batch.attention), batch.last
        )

    def flow(
        self, sequences: list[Sequence], rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Flow loss of sequences that hold x_1; the condition is dropped with probability
        `condition_dropout`."""
        dropped = rng.random(len(sequences)) < self.condition_dropout
        sequences = [
            unconditional(s, self.special) if drop else s
            for s, drop in zip(sequences, dropped, strict=True)
        ]
        clean = collate(sequences, self.model.config)
        # stratified over the batch: the same distribution as independent draws, less noise in the
        # loss
        uniform = (rng.permutation(len(sequences)) + rng.random(len(sequences))) / len(sequences)
        t = torch.from_numpy(uniform**self.t_power * LATEST).float()
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noisy = self.corruption(clean, t, generator)  # on the CPU, where the paths' tables are
        return flow_loss(self.model, clean.to(self.device), noisy.to(self.device))

    def next_token(self, sequences: list[Sequence]) -> tuple[Tensor, dict[str, float]]:
        """The causal model's loss: cross-entropy of each token of the responses up to <EOS>, given
        everything before it.

        UsageError: a response that is not text.
        """
        clean = collate(sequences, self.model.config)
        if clean.image.generated.any() or clean.audio.generated.any():
            raise UsageError(
                "an autoregressive model only learns to answer in text; leave out tasks that"
                " ask for media"
            )
        answered = clean.text_generated & (clean.tokens != self.special.pad)
        batch = dataclasses.replace(clean, text_generated=answered)
        return flow_loss(self.model, batch, batch)

    def with_reconstruction(
        self, loss: Tensor, metrics: dict[str, float], draw: Draw, embeddings: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Add the reconstruction losses of the batch's media, balanced on the codebook that both
        losses train. `embeddings` (B,S,H) is what the backbone was given."""
        kinds = (
            ("image", draw.pixels, image_reconstruction, self.model.embed_image.codebook),
            ("audio", draw.log_mel, audio_reconstruction, self.model.embed_audio.codebook),
        )
        total = self.balance.weights["ce"] * loss
        for name, media, reconstruction, codebook in kinds:
            if media is None:
                continue
            loss_rec, _, found = reconstruction(self.model, torch.from_numpy(media).to(self.device))
            losses = {"ce": loss, name: loss_rec}
            if self.in_shares:
                self.balance.update_in_backward(losses, codebook.entries, embeddings, "ce")
            else:
                self.balance.update(losses, codebook.entries)
            total = total + self.balance.weights[name] * loss_rec
            metrics |= {f"{name}_{key}": value for key, value in found.items()}
        return total, metrics | {
            f"lambda_{name}": weight for name, weight in self.balance.weights.items()
        }
