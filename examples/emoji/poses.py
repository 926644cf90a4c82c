"""Where a drawing stands in a picture: placed by chance, or moved from frame to frame. No torch in
here."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from catalog import DataError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

MOTIONS = ("spinning", "growing", "shrinking", "sliding left", "sliding right", "bouncing")
SIZES = {"bigger": 1.25, "smaller": 0.6}
SMALLEST = 0.4
SLIDE = 0.25
"""A third of a slide's way, as a share of the side: 8 pixels of 32, so that the patches of a 4 x 4
tokenizer move whole."""


def affine(
    angle: Floats, scale: Floats, shift: Floats, mirror: npt.NDArray[np.bool_] | None = None
) -> tuple[Floats, Floats]:
    """Output-to-input maps for turning clockwise, scaling and shifting about the middle: matrix
    (B,2,2), offset (B,2).

    Points are (x, y) relative to the middle, in units of half the side; `shift` (B,2) is in the
    same units. Angles are in degrees.
    """
    radians = np.deg2rad(angle)
    cos, sin = np.cos(radians) / scale, np.sin(radians) / scale
    matrix: Floats = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2).astype(
        np.float32
    )
    if mirror is not None:
        matrix[mirror, 0] *= -1
    offset: Floats = -np.einsum("bij,bj->bi", matrix, shift)
    return matrix, offset


@functools.cache
def grid(side: int) -> Floats:
    """Middles of side x side pixels as (x, y) in [-1, 1], rows top to bottom: (side*side, 2)."""
    axis = (np.arange(side) * 2 + 1) / side - 1
    return np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype(np.float32)


@dataclass(frozen=True)
class Motion:
    """The pose of a drawing in each frame: angle (F,) in degrees, scale (F,), shift (F,2) in half
    sides."""

    angle: Floats
    scale: Floats
    shift: Floats


def motion_poses(kind: str, frames: int) -> Motion:
    """Poses of one of MOTIONS. All start from the plain drawing but "growing", which ends in it."""
    if not 1 <= frames <= 8:
        raise DataError(f"a motion has 1 to 8 frames, not {frames}")
    step = np.arange(frames)
    share = step / max(1, frames - 1)
    angle, scale, shift = np.zeros(frames), np.ones(frames), np.zeros((frames, 2))
    if kind == "spinning":
        angle = 360 * step / frames
    elif kind == "growing":
        scale = SMALLEST + (1 - SMALLEST) * share
    elif kind == "shrinking":
        scale = 1 - (1 - SMALLEST) * share
    elif kind in ("sliding left", "sliding right"):
        shift[:, 0] = 2 * 3 * SLIDE * share * (-1 if kind == "sliding left" else 1)
    elif kind == "bouncing":
        shift[:, 1] = -2 * SLIDE * np.abs(np.sin(2 * np.pi * step / frames))
    else:
        raise DataError(f"unknown motion '{kind}'; there are: {', '.join(MOTIONS)}")
    return Motion(angle.astype(np.float32), scale.astype(np.float32), shift.astype(np.float32))
