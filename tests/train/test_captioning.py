"""The captioning loss: a caption is said from its latents, each token from those before it."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from nextomni_edge.train.captioning import CaptionHead
from tests.tiny import tiny_config

LATENT, CAPTIONS = 8, ([5, 6, 7, 1], [5, 9, 1], [8, 1])


@pytest.fixture
def head() -> CaptionHead:
    torch.manual_seed(0)
    return CaptionHead(tiny_config(), LATENT, width=64, layers=1)


def flat() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([*itertools.chain(*CAPTIONS)]), torch.tensor([0, 4, 7])


def test_the_loss_is_the_mean_over_the_tokens_of_captions_said_one_by_one(
    head: CaptionHead,
) -> None:
    """The pads behind a shorter caption count nothing."""
    latents = torch.randn(3, 5, LATENT)
    each = [
        F.cross_entropy(
            head.logits(latents[place : place + 1], torch.tensor([caption]))[0],
            torch.tensor(caption),
            reduction="sum",
        )
        for place, caption in enumerate(CAPTIONS)
    ]
    loss, _ = head(latents, *flat())
    torch.testing.assert_close(loss, torch.stack(each).sum() / 9)


def test_a_token_is_predicted_from_those_before_it(head: CaptionHead) -> None:
    latents, tokens = torch.randn(1, 5, LATENT), torch.tensor([[5, 6, 7, 1]])
    changed = tokens.clone()
    changed[0, 2] = 11
    before, after = head.logits(latents, tokens)[0], head.logits(latents, changed)[0]
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3], after[3], atol=1e-4)


def test_latents_learn_to_tell_their_captions(head: CaptionHead) -> None:
    """Sounds with other captions are told apart, and mixed up they are not: the gradient reaches
    the latents."""
    latents = torch.nn.Parameter(0.1 * torch.randn(3, 5, LATENT))
    optimiser = torch.optim.AdamW([latents, *head.parameters()], lr=3e-3)
    for _ in range(60):
        loss, _ = head(latents, *flat())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        told, right = head(latents, *flat())
        mixed, wrong = head(latents.roll(1, 0), *flat())
    assert right == 1.0 > wrong and float(told) < 0.1 < float(mixed)
