"""How pictures come into published masked models: MMaDA's centre crop, Lumina-DiMOO's choice among
shapes of one area."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float32 = NDArray[np.float32]
Place = Callable[[int], int]  # where in a slack of so many pixels a crop begins

STEP = 32  # sides of Lumina-DiMOO's shapes are multiples of it
MOST_UNEQUAL = 4.0  # longest side over shortest


def centre(slack: int) -> int:
    """A crop in the middle."""
    return round(slack / 2.0)


def centre_crop(picture: Image.Image, size: int) -> Image.Image:
    """A square of `size`: the short side brought to it by bicubic filtering, the long one cut to
    whole pixels, then its middle."""
    short = min(picture.size)
    width, height = (size if side == short else int(size * side / short) for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = centre(width - size), centre(height - size)
    return resized.crop((left, top, left + size, top + size))


def shapes(size: int, step: int = STEP) -> list[tuple[int, int]]:
    """(width, height) of every shape of at most the area of a square of `size`, in multiples of
    `step`: for each width from the widest on, the heights that the width before did not leave
    room for."""
    most = (size // step) ** 2
    found, height = [], 1
    for width in range(most, 0, -1):
        tallest = most // width
        for tall in range(height, tallest + 1):
            if max(width, tall) <= MOST_UNEQUAL * min(width, tall):
                found.append((width * step, tall * step))
        height = tallest
    return found


def shape_crop(
    picture: Image.Image, allowed: list[tuple[int, int]], place: Place = centre
) -> Image.Image:
    """The picture in the allowed shape that is most like its own, of equals the widest: halved by
    averaging while it has twice the sides, then brought there by bicubic filtering, and cut.

    `place` is asked for the left edge, then for the top one. Lumina-DiMOO draws both at random; we
    take the middle.
    """

    def likeness(shape: tuple[int, int]) -> float:
        ratios = [side / own for side, own in zip(shape, picture.size, strict=True)]
        return min(ratios) / max(ratios)

    width, height = max(allowed, key=lambda shape: (likeness(shape), shape))
    while picture.size[0] >= 2 * width and picture.size[1] >= 2 * height:
        half = (picture.size[0] // 2, picture.size[1] // 2)
        picture = picture.resize(half, Image.Resampling.BOX)
    scale = max(width / picture.size[0], height / picture.size[1])
    sides = (round(picture.size[0] * scale), round(picture.size[1] * scale))
    picture = picture.resize(sides, Image.Resampling.BICUBIC)
    left = place(picture.size[0] - width)
    top = place(picture.size[1] - height)
    return picture.crop((left, top, left + width, top + height))


def whole_codes(picture: Image.Image, patch: int) -> Image.Image:
    """The picture with sides cut down to multiples of `patch` by Lanczos filtering, as aMUSEd's
    tokenizer takes it."""
    sides = [side - side % patch for side in picture.size]
    if tuple(sides) == picture.size:
        return picture
    return picture.resize(sides, Image.Resampling.LANCZOS)
