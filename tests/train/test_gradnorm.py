"""GradNorm's weights, measured apart and in the one backward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nextomni_edge.train.gradnorm import GradNorm


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_the_backward_pass_gives_the_weights_that_separate_gradients_give(scale: float) -> None:
    """`scale` is what accumulation divides by. Three rounds, so that the weights differ from 1."""
    torch.manual_seed(0)
    shared, deep, decoder = nn.Parameter(torch.randn(4, 3)), nn.Linear(3, 3), nn.Linear(3, 3)
    apart, passing = GradNorm(("ce", "image", "audio")), GradNorm(("ce", "image", "audio"))
    for _ in range(3):
        embeddings = shared * 2.0
        losses = {
            "ce": deep(embeddings).square().mean(),
            "image": 5.0 * decoder(shared).square().mean(),
        }
        total = sum(passing.weights[name] * loss for name, loss in losses.items())
        before = torch.autograd.grad(scale * total, shared, retain_graph=True)[0]
        apart.update(losses, shared)
        passing.update_in_backward(losses, shared, embeddings, "ce")
        (scale * total).backward()
        assert apart.weights == pytest.approx(passing.weights) and apart.initial == passing.initial
        torch.testing.assert_close(shared.grad, before)
        shared.grad = None
    assert apart.weights["ce"] != apart.weights["image"]
