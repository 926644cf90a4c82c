"""Omni-Diffusion's MAGVIT-v2, array by array, and the pictures that its recorded answers became."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from nextomni_edge.media.image import fit, to_bytes
from nextomni_edge.tokens.omnidiffusion import content
from tests.published.goldens import Array, arrays, close, read
from tests.published.models import omnidiffusion_model as model
from tests.published.models import omnidiffusion_network as network

SHOWN = [(name, size) for name in ("I1", "I2") for size in ("", "small.")]
GIVEN, DRAWN = 96, 64  # pixels a side: of a picture in a prompt, and of an answer
PROMPTS = read("omnidiffusion", "traj.json")["prompts"]


def recorded(key: str) -> Array:
    return arrays("omnidiffusion")[f"mv.{key}"]


@pytest.mark.parametrize(("name", "size"), SHOWN)
def test_a_picture_comes_in_at_either_size(name: str, size: str) -> None:
    picture = Image.fromarray(recorded(f"{name}.uint8"))
    found = fit(picture, DRAWN if size else GIVEN, "crop")
    close(found, recorded(f"{name}.{size}pixels")[0], 1e-6)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "size"), SHOWN)
def test_a_picture_has_the_recorded_codes(name: str, size: str) -> None:
    pixels = torch.from_numpy(recorded(f"{name}.{size}pixels"))
    encoder = network().image_encoder
    close(encoder.latents(pixels).numpy(), recorded(f"{name}.{size}latents"))
    codes = encoder(pixels).flatten(1).numpy()
    np.testing.assert_array_equal(codes, recorded(f"{name}.{size}codes"))


@torch.inference_mode()
def test_codes_become_the_recorded_pixels() -> None:
    """Also those of a grid that is no square."""
    decoder = network().image_decoder
    codes = torch.from_numpy(recorded("dec.codes").reshape(2, 4, 4, 1))
    close(decoder.latents(codes).numpy(), recorded("dec.zq"), 0.0)
    pixels = decoder.decoded(codes).numpy()
    close(pixels, recorded("dec.pixels"))
    for found, expected in zip(pixels, recorded("dec.uint8"), strict=True):
        assert within_a_level(np.clip(found, -1, 1), expected)
    wide = torch.from_numpy(recorded("dec_rect.codes").reshape(1, 2, 3, 1))
    close(decoder.decoded(wide).numpy(), recorded("dec_rect.pixels"))


def within_a_level(pixels: Array, expected: Array) -> bool:
    """Whether pixels (3,H,W) in [-1, 1] are bytes (H,W,3), or one next to them: theirs are cut, and
    a pixel on a border may go either way."""
    levels = to_bytes(pixels, truncated=True).astype(int)
    return bool(np.abs(levels - expected).max() <= 1)


@torch.inference_mode()
def test_a_latent_of_zero_is_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, latents = network().image_encoder, torch.from_numpy(recorded("lfq.z"))
    monkeypatch.setattr(encoder, "latents", lambda _: latents)
    code = encoder(latents)
    np.testing.assert_array_equal(code.flatten().numpy(), recorded("lfq.indices").flatten())
    close(network().image_decoder.latents(code).numpy(), recorded("lfq.zq"), 0.0)


@pytest.mark.parametrize("name", list(PROMPTS))
def test_an_answer_becomes_the_recorded_picture(name: str) -> None:
    """Their script draws one of every answer, whatever was asked. Its channels are reversed."""
    drawn = content("image", np.array(PROMPTS[name]["generated_ids"]), model().config).value
    assert isinstance(drawn, np.ndarray)
    expected = arrays("omnidiffusion")[f"traj.{name}.image_bgr_uint8"][:, :, ::-1]
    assert within_a_level(model().decode_image(drawn), expected)
