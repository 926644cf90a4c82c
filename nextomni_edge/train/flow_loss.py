"""The flow's training loss: cross-entropy of x_1 given x_t ~ p_t(· | x_1), over the response's rows
(METHOD 3)."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from nextomni_edge.config import ModelConfig
from nextomni_edge.flow.mixture import MixtureSchedule
from nextomni_edge.flow.path import Path, paths_of
from nextomni_edge.models.omni import MetricTables, OmniModel
from nextomni_edge.train.batch import Batch, CodeRows, embed

LATEST = 1.0 - 1e-3  # t is drawn from [0, LATEST]: at 1 nothing is left to predict


class Corruption:
    """Draws x_t ~ p_t(· | x_1) for every modality's generated rows, each sample at its own t."""

    def __init__(self, config: ModelConfig, tables: MetricTables) -> None:
        def paths(modality: str, tables: Tensor) -> tuple[Path, ...]:
            codebooks, entries = tables.shape[:2]
            return paths_of(config.path(modality), codebooks, entries, lambda: tables)

        self.settings = config.flow.text
        (self.text,) = paths("text", tables.text[None])
        self.image, self.audio = paths("image", tables.image), paths("audio", tables.audio)

    def __call__(self, batch: Batch, t: Tensor, generator: torch.Generator) -> Batch:
        """The batch with its generated rows at time `t` (B,)."""
        tokens, weight = batch.tokens.clone(), batch.text_weight.clone()
        where = batch.text_generated.nonzero(as_tuple=True)
        if len(where[0]):
            times = t[where[0]]
            if self.settings.masked and self.settings.rate == "position":
                times = torch.rand(len(where[0]), generator=generator) * LATEST
            uniform = torch.rand(len(where[0]), generator=generator)
            tokens[where] = self.text.corrupt(batch.tokens[where], times, uniform)
            weight[where] = self._weight(tokens[where], times)
        return dataclasses.replace(
            batch,
            tokens=tokens,
            text_weight=weight,
            image=self._codes(batch.image, self.image, t, generator),
            audio=self._codes(batch.audio, self.audio, t, generator),
        )

    def _weight(self, x_t: Tensor, times: Tensor) -> Tensor:
        """What the loss of each text row (N,) counts: with a mask source nothing where the row is
        not masked, and on average over x_t as much as all rows together."""
        settings = self.settings
        if not settings.masked:
            return torch.ones_like(times)
        schedule = MixtureSchedule(settings.kappa, settings.shift)
        masked = torch.eq(x_t, settings.mask or 0).to(times.dtype)
        if not settings.weighted:
            return masked * len(masked) / masked.sum().clamp_min(1.0)
        rates = [
            schedule.slope(time) / (1.0 - float(schedule.kappa(time))) for time in times.tolist()
        ]
        return masked * torch.tensor(rates, dtype=times.dtype)

    @staticmethod
    def _codes(
        rows: CodeRows, paths: tuple[Path, ...], t: Tensor, generator: torch.Generator
    ) -> CodeRows:
        codes, chosen = rows.codes.clone(), rows.generated
        if not chosen.any():
            return rows
        times, x_1 = t[rows.sample[chosen]], rows.codes[chosen]
        uniform = torch.rand(x_1.shape, generator=generator)
        columns = [path.corrupt(x_1[:, k], times, uniform[:, k]) for k, path in enumerate(paths)]
        codes[chosen] = torch.stack(columns, dim=1)
        return dataclasses.replace(rows, codes=codes)


def flow_loss(model: OmniModel, clean: Batch, noisy: Batch) -> tuple[Tensor, dict[str, float]]:
    """Sum over the modalities generated in the batch of the mean cross-entropy per (sub-)token, in
    nats, and each one's value.

    The backbone reads `noisy`; with the clean batch in its place, under a causal mask, this is the
    loss of the next token.
    """
    hidden = model.hidden(embed(model, noisy), noisy.attention, noisy.response)
    losses: dict[str, Tensor] = {}
    shift = model.config.logit_shift
    sample, position = clean.text_generated.nonzero(as_tuple=True)
    if len(sample):
        logits = model.text_head(hidden[sample, position - shift][None])[0]
        each = F.cross_entropy(logits, clean.tokens[sample, position], reduction="none")
        losses["text"] = (each * noisy.text_weight[sample, position]).mean()
    for name, rows, head in (
        ("image", clean.image, model.image_head),
        ("audio", clean.audio, model.audio_head),
    ):
        chosen = rows.generated
        if chosen.any():
            given = (hidden[rows.sample[chosen], rows.position[chosen] - shift][None],)
            kind = getattr(model.config, name).head.kind
            logits = (
                head(*given, rows.codes[chosen][None]) if kind == "autoregressive" else head(*given)
            )
            losses[name] = F.cross_entropy(logits.flatten(0, -2), rows.codes[chosen].flatten())
    total = torch.stack(list(losses.values())).sum()
    return total, {name: float(loss.detach()) for name, loss in losses.items()}


def contrastive_loss(
    first: Tensor, second: Tensor, temperature: float = 0.07
) -> tuple[Tensor, float]:
    """Symmetric InfoNCE of two aligned sets of unit vectors (B,H) (Radford et al., arXiv
    2103.00020), and first→second top-1."""
    similarity = first @ second.T / temperature
    target = torch.arange(len(first), device=first.device)
    loss = (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2
    return loss, float((similarity.argmax(dim=1) == target).float().mean())
