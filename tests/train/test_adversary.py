"""A critic and a decoder learn from one sum, and neither learns the other's part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nextomni_edge.models import native
from nextomni_edge.train.adversary import Adversary, hinge_loss, matching_loss
from nextomni_edge.train.decoding import Decoding
from nextomni_edge.train.warm_up import WarmUp
from tests.tiny import tiny_model


def stripes(count: int, generator: torch.Generator) -> Tensor:
    """Sharp pictures (count,3,16,16)."""
    return (
        torch.randint(0, 2, (count, 3, 1, 16), generator=generator).float().expand(-1, -1, 16, 16)
    )


@pytest.mark.parametrize(("adversarial", "matching"), [(1.0, 0.0), (0.0, 1.0)])
def test_the_decoder_learns_its_losses_only(adversarial: float, matching: float) -> None:
    torch.manual_seed(0)
    adversary = Adversary(3, adversarial, matching)
    given, decoded = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16, requires_grad=True)
    loss, said = adversary(decoded, given)
    loss.backward()
    assert decoded.grad is not None and decoded.grad.abs().max() > 0
    learnt = [parameter.grad.clone() for parameter in adversary.critic.parameters()]  # type: ignore[union-attr]
    adversary.zero_grad()
    critic = adversary.critic
    hinge_loss(critic(decoded.detach())[-1], critic(given)[-1]).backward()
    for gradient, parameter in zip(learnt, adversary.critic.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
    assert said.keys() == {"critic", "adversarial", "matching"}


def test_a_critic_learns_what_blurs() -> None:
    torch.manual_seed(0)
    adversary, generator = Adversary(3), torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(adversary.parameters(), 2e-3)
    for _ in range(60):
        sharp = stripes(16, generator)
        loss, _ = adversary(F.avg_pool2d(sharp, 3, 1, 1), sharp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sharp = stripes(64, generator)
    blurred = F.avg_pool2d(sharp, 3, 1, 1)
    with torch.no_grad():
        assert adversary.critic(sharp)[-1].mean() > adversary.critic(blurred)[-1].mean() + 0.5


def test_equal_features_match() -> None:
    features = [torch.rand(2, 4, 3, 3), torch.rand(2, 8, 2, 2)]
    assert matching_loss(features, features) == 0
    assert matching_loss([2 * feature for feature in features], features) == pytest.approx(1.0)


@pytest.mark.parametrize(("modality", "channels"), [("image", 3), ("audio", 1)])
def test_a_critic_stands_next_to_a_decoder(modality: str, channels: int, tmp_path: Path) -> None:
    model = native.load(tiny_model(tmp_path / "model")).train()
    audio = model.config.audio
    media = (
        torch.rand(2, 3, 16, 16)
        if modality == "image"
        else torch.rand(2, 4, audio.frames_per_token, audio.mels)
    )
    plain, found = Decoding(model)(modality, media)
    module = Decoding(model, {modality: Adversary(channels, 0.1, 1.0)})
    loss, more = module(modality, media)
    loss.backward()
    assert loss != plain and found.items() < more.items()
    for name, parameter in module.named_parameters():
        if name.startswith("critics."):
            assert parameter.grad is not None, name
    assert not any("critic" in name for name in native.state_names(model))


def test_a_warm_up_without_a_critic_is_as_it_was(tmp_path: Path) -> None:
    model = native.load(tiny_model(tmp_path / "model")).train()
    media, ids, starts = torch.rand(2, 3, 16, 16), torch.arange(4), torch.tensor([0, 2])
    losses, logged = [], []
    for critic in (None, Adversary(3), Adversary(3, 0.5)):
        torch.manual_seed(0)
        loss, found = WarmUp("image", model, critic=critic)(media, ids, starts)
        losses.append(float(loss.detach()))
        logged.append(found)
    assert logged[1]["critic"] == pytest.approx(losses[1] - losses[0], rel=1e-4)
    assert losses[2] != losses[1] and "critic" not in logged[0]
