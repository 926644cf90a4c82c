"""The perceptual distance of pictures, and the warm-up with it."""

from __future__ import annotations

import pytest
import torch

from nextomni_edge.models.omni import OmniModel
from nextomni_edge.train.perceptual import Perceptual
from nextomni_edge.train.warm_up import WarmUp
from tests.tiny import tiny_config


@pytest.fixture
def model() -> OmniModel:
    torch.manual_seed(0)
    return OmniModel(tiny_config())


def test_the_distance_is_that_of_unit_features(model: OmniModel) -> None:
    """2 − 2 cos for each row and block; 0 of a picture to itself; the same in both directions."""
    distance = Perceptual(model.image_encoder)
    first, second = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    found = distance(first, second)
    x, y = (model.image_encoder.rows(each) for each in (first, second))
    expected = []
    for block in model.image_encoder.transformer.blocks:
        x, y = block(x), block(y)
        expected.append((2 - 2 * torch.cosine_similarity(x, y, dim=-1)).mean())
    torch.testing.assert_close(found, torch.stack(expected).mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, distance(second, first))
    assert float(distance(first, first).detach()) == 0.0 < float(found.detach()) <= 4.0


def test_the_encoder_that_measures_stays_as_it_was(model: OmniModel) -> None:
    """The trained one moves; the gradient of the distance reaches the decoder through the copy."""
    warm_up = WarmUp("image", model, perceptual=1.0)
    assert warm_up.perceptual is not None
    trained = [own for own in warm_up.parameters() if own.requires_grad]
    before = {name: own.clone() for name, own in warm_up.perceptual.named_parameters()}
    optimiser = torch.optim.SGD(trained, lr=0.1)
    captions = torch.tensor([5, 6]), torch.tensor([0, 1])
    loss, metrics = warm_up(torch.rand(2, 3, 16, 16) * 2 - 1, *captions)
    loss.backward()
    optimiser.step()
    assert metrics["perceptual"] > 0
    assert all(
        torch.equal(own, before[name]) for name, own in warm_up.perceptual.named_parameters()
    )
    patch = model.image_encoder.patch.weight
    assert not torch.equal(patch, before["encoder.patch.weight"])


def test_its_weight_counts(model: OmniModel) -> None:
    pixels, captions = torch.rand(2, 3, 16, 16), (torch.tensor([5, 6]), torch.tensor([0, 1]))
    found = {}
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(0)
        loss, metrics = WarmUp("image", model, weight)(pixels, *captions)
        found[weight] = float(loss.detach()), metrics.get("perceptual", 0.0)
    assert found[3.0][1] == pytest.approx(3 * found[1.0][1])
    assert found[3.0][0] - found[0.0][0] == pytest.approx(found[3.0][1], rel=1e-3)
