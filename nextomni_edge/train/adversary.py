"""A critic that learns next to a decoder: adversarial loss and feature matching."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

SLOPE = 0.2  # of LeakyReLU, as PatchGAN's


class Critic(nn.Module):
    """PatchGAN's discriminator (Isola et al., arXiv 1611.07004): convolutions that say of each
    patch of (B,channels,height,width) whether it was given or decoded."""

    def __init__(self, channels: int, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        widths = [channels, *(width * 2 ** min(layer, 2) for layer in range(layers))]
        self.blocks = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1) for before, after in itertools.pairwise(widths)
        )
        self.said = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, media: Tensor) -> list[Tensor]:
        """The features of each layer, and last the logits (B,1,h,w): high where it was given."""
        found = []
        for block in self.blocks:
            media = F.leaky_relu(block(media), SLOPE)
            found.append(media)
        return [*found, self.said(media)]


class Adversary(nn.Module):
    """What a critic teaches a decoder, and what the critic learns from it.

    `adversarial` weighs the hinge loss of a decoder that wants to pass for given media (as VQGAN's,
    arXiv 2012.09841), `matching` the distance of the critic's features of both (HiFi-GAN, arXiv
    2010.05646). Both are losses of the decoder only: it is judged by a critic whose weights are
    held still, and the critic by what is cut off from the decoder. So their sum has one optimiser.
    """

    def __init__(self, channels: int, adversarial: float = 0.0, matching: float = 0.0) -> None:
        super().__init__()
        self.critic, self.weights = Critic(channels), (adversarial, matching)

    def forward(self, decoded: Tensor, given: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The weighted losses of decoder and critic for media (B,channels,height,width), and what
        to log."""
        meant = self.critic(given)
        own = hinge_loss(self.critic(decoded.detach())[-1], meant[-1])
        still = {name: tensor.detach() for name, tensor in self.critic.named_parameters()}
        made: list[Tensor] = functional_call(self.critic, still, (decoded,))
        passing, matched = -made[-1].mean(), matching_loss(made[:-1], meant[:-1])
        adversarial, matching = self.weights
        loss = own + adversarial * passing + matching * matched
        named = {"critic": own, "adversarial": passing, "matching": matched}
        return loss, {name: float(value.detach()) for name, value in named.items()}


def hinge_loss(decoded: Tensor, given: Tensor) -> Tensor:
    """Of a critic's logits (Lim and Ye, arXiv 1705.02894): over 1 where media were given, under −1
    where they were decoded."""
    return 0.5 * (F.relu(1 - given).mean() + F.relu(1 + decoded).mean())


def matching_loss(made: list[Tensor], given: list[Tensor]) -> Tensor:
    """Mean over layers of the absolute difference of features, relative to the given ones'."""
    terms = [
        (own - other).abs().mean() / other.abs().mean().clamp(min=1e-6)
        for own, other in zip(made, (feature.detach() for feature in given), strict=True)
    ]
    total: Tensor = sum(terms[1:], terms[0]) / len(terms)
    return total
