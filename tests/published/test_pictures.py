"""Pictures on their way into and out of published models, to the pixel."""

from __future__ import annotations

import functools
import random

import numpy as np
from PIL import Image

from nextomni_edge.media.crop import centre_crop, shape_crop, shapes, whole_codes
from nextomni_edge.media.image import fit, to_bytes
from tests.published.goldens import arrays, close


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
