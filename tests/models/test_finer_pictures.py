"""A decoder may draw finer pictures than the encoder reads, from the same tokens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nextomni_edge.bundle import Bundle
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.export import export_bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.models import native
from nextomni_edge.train.decoding import Decoding
from nextomni_edge.train.reconstruction import at_side
from tests.tiny import tiny_config, tiny_model


def finer(drawn: int) -> ModelConfig:
    config = tiny_config()
    return dataclasses.replace(config, image=dataclasses.replace(config.image, drawn=drawn))


def test_the_exported_decoder_draws_finer_pictures_of_the_same_tokens(tmp_path: Path) -> None:
    checkpoint = tiny_model(tmp_path / "model", finer(48))
    export_bundle(checkpoint, tmp_path / "bundle", components=["image_decoder"])
    model, edge = native.load(checkpoint), EdgeModel.from_bundle(Bundle.open(tmp_path / "bundle"))
    codes = np.random.default_rng(0).integers(0, 16, (2, model.config.image.positions, 3))
    with torch.no_grad():
        expected = model.image_decoder(torch.from_numpy(codes)).numpy()
    assert expected.shape == (2, 3, 48, 48)
    np.testing.assert_allclose(edge.decode_image(codes), expected, atol=1e-5)


@pytest.mark.parametrize("drawn", [8, 24, 40])
def test_a_side_that_is_no_multiple_is_refused(drawn: int) -> None:
    with pytest.raises(InputError, match=r"image\.drawn must be a multiple of image\.size"):
        finer(drawn)


def test_a_finer_picture_is_the_mean_of_its_pixels() -> None:
    coarse = torch.rand(2, 3, 8, 8)
    fine = coarse.repeat_interleave(3, -1).repeat_interleave(3, -2)
    torch.testing.assert_close(at_side(fine, 8), coarse)
    assert at_side(coarse, 8) is coarse


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_decoders_learn_and_codes_stay(modality: str, tmp_path: Path) -> None:
    model = native.load(tiny_model(tmp_path / "model", finer(32))).train()
    before = {name: tensor.clone() for name, tensor in native.state_names(model).items()}
    module = Decoding(model)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2, weight_decay=0.1)
    torch.manual_seed(0)
    config = model.config.audio
    media = (
        torch.rand(4, 3, 32, 32)
        if modality == "image"
        else torch.rand(4, 4, config.frames_per_token, config.mels)
    )
    losses = []
    for _ in range(20):
        loss, _ = module(modality, media)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = {
        name.split(".")[0]
        for name, tensor in native.state_names(model).items()
        if not torch.equal(tensor, before[name])
    }
    assert losses[-1] < losses[0] and moved == {f"{modality}_decoder"}
