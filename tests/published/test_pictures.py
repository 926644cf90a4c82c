"""Pictures on their way into and out of published models, to the pixel."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
from PIL import Image

from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.media.crop import centre_crop, shape_crop, shapes, whole_codes
from nextomni_edge.media.image import fit, to_bytes
from tests.published.goldens import Array, arrays, close
from tests.published.models import imported


def test_mmada_crops_as_recorded() -> None:
    golden = arrays("magvitv2")
    picture = Image.fromarray(golden["enc.image0"])
    close(fit(picture, 64, "crop"), golden["enc.pixels"][0], 1e-6)
    squashed = Image.fromarray(golden["enc.image1"]).resize((64, 64), Image.Resampling.BICUBIC)
    found = (np.asarray(squashed, np.float32) / 255 - 0.5) / 0.5
    close(found.transpose(2, 0, 1), golden["enc.pixels"][1], 1e-6)


def test_a_square_crop_of_any_shape_has_the_size_asked_for() -> None:
    for width, height in ((90, 31), (31, 90), (64, 64), (65, 64), (640, 641)):
        assert centre_crop(Image.new("RGB", (width, height)), 64).size == (64, 64)


def test_the_shapes_of_lumina_are_as_recorded() -> None:
    golden = arrays("vq_amused")
    for size, name in ((64, "crop.list"), (512, "crop.list512"), (1024, "crop.list1024")):
        np.testing.assert_array_equal(shapes(size), golden[name])


def test_lumina_crops_as_recorded() -> None:
    golden = arrays("vq_amused")
    for index in range(2):
        draws = random.Random(40 + index)
        draws.choice([0])  # theirs draws among the one best shape
        picture = Image.fromarray(golden[f"crop{index}.image"])
        found = shape_crop(picture, shapes(64), functools.partial(draws.randint, 0))
        np.testing.assert_array_equal(np.asarray(found), golden[f"crop{index}.out"])


def test_the_vq_takes_whole_patches_only() -> None:
    golden = arrays("vq_amused")
    picture = whole_codes(Image.fromarray(golden["enc.image"]), 16)
    found = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    close(found, golden["enc.pixels"][0], 1e-6)


def test_bytes_are_cut_by_mmada_and_rounded_by_lumina() -> None:
    magvit, amused = arrays("magvitv2"), arrays("vq_amused")
    for pixels, expected in zip(magvit["dec.pixels"], magvit["dec.uint8"], strict=True):
        np.testing.assert_array_equal(to_bytes(pixels, truncated=True), expected)
    signed = np.clip(amused["dec.pixels"][0], 0, 1) * 2 - 1
    np.testing.assert_array_equal(to_bytes(signed), amused["dec.uint8"])


@functools.cache
def model_of(family: str) -> EdgeModel:
    return EdgeModel.from_checkpoint(imported(family))


def codes(tokens: Array) -> Array:
    """The image codes among Lumina-DiMOO's ids, -1 for a mask; markers and newlines left out."""
    found = np.where(tokens == 316, -1, tokens - 336)
    return found[(tokens == 316) | (found >= 0)]


@pytest.mark.parametrize("name", ["i2i.image", "mmu.image"])
def test_luminas_pictures_are_the_recorded_codes(name: str) -> None:
    golden = arrays("lumina_dimoo")
    tokens = golden["mmu.image_tokens_single" if name == "mmu.image" else "i2i.image_tokens"]
    pixels = golden[name].astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    found = model_of("lumina_dimoo").encode_image(pixels)
    np.testing.assert_array_equal(found.ravel(), codes(tokens))


@pytest.mark.parametrize("name", ["inpainting", "outpainting"])
def test_what_a_painted_picture_keeps_are_the_recorded_codes(name: str) -> None:
    """The picture is cut down to whole codes first: 70 x 100 pixels to 4 x 6 codes."""
    golden = arrays("lumina_dimoo")
    whole = np.asarray(whole_codes(Image.fromarray(golden["paint.image"]), 16), np.float32)
    found = model_of("lumina_dimoo").encode_image(whole.transpose(2, 0, 1) / 127.5 - 1)
    expected = codes(golden[f"paint.{name}.tokens"]).reshape(4, 6)
    kept = expected >= 0
    np.testing.assert_array_equal(found[..., 0][kept], expected[kept])
    inside = np.zeros((4, 6), np.bool_)
    inside[slice(1, 3) if name == "inpainting" else slice(None), 2:4] = True
    np.testing.assert_array_equal(kept, inside if name == "outpainting" else ~inside)


@pytest.mark.parametrize(
    ("family", "codes_of", "bytes_of", "height"),
    [
        ("mmada", "t2i.codes", "t2i.uint8", 4), ("mmada", "t2i_part.codes", "t2i_part.uint8", 4),
        ("lumina_dimoo", "t2i.result", "t2i.uint8", 4),
        ("lumina_dimoo", "i2i.result", "i2i.uint8", 2),
    ],
)  # fmt: skip
def test_a_drawn_picture_has_the_recorded_bytes(
    family: str, codes_of: str, bytes_of: str, height: int
) -> None:
    golden, lumina = arrays(family), family == "lumina_dimoo"
    shown = golden[codes_of] - (336 if lumina else 0)
    for row, expected in zip(shown, golden[bytes_of].reshape(len(shown), -1), strict=True):
        pixels = model_of(family).decode_image(row.reshape(height, -1, 1).astype(np.int64))
        found = to_bytes(pixels, truncated=not lumina)
        assert np.abs(found.reshape(-1).astype(int) - expected).max() <= 1
