"""A published vision tower at another size: its patches and positions, interpolated.

Positions are resampled over their grid. A patch's filter w is replaced by the one that gives the
same answers on enlarged or reduced patches: with B the linear map that resizes a patch, B⁺ᵀ·w
(FlexiViT, arXiv 2212.08013).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resized(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """A tensor of a vision tower in another shape, None where its size is no question of
    resolution."""
    if name == "image_encoder.patch.weight" and tensor.shape[:2] == shape[:2]:
        return patches(tensor, shape[-1])
    if name == "image_encoder.positions" and tensor.shape[1] == shape[1]:
        return positions(tensor, shape[0])
    return None


def positions(table: Tensor, rows: int) -> Tensor | None:
    """(n, width) of a square grid, behind the row of a class token where there is one → (rows,
    width). None: no square."""
    before, after = (math.isqrt(count) for count in (len(table), rows))
    classes = len(table) - before**2
    if classes not in (0, 1) or rows - after**2 != classes:
        return None
    grid = table[classes:].T.reshape(1, -1, before, before)
    found = F.interpolate(grid, (after, after), mode="bicubic", antialias=True)
    return torch.cat((table[:classes], found.reshape(table.shape[1], -1).T))


def patches(filters: Tensor, size: int) -> Tensor:
    """(width, 3, p, p) → (width, 3, size, size)."""
    p = filters.shape[-1]
    pixels = torch.eye(p * p, dtype=torch.float64).reshape(-1, 1, p, p)
    # (p², size²): each row is a pixel of a patch, resized
    resize = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True).reshape(p * p, -1)
    flat = filters.double().reshape(-1, p * p)
    found = flat @ torch.linalg.pinv(resize).T
    out: Tensor = found.reshape(*filters.shape[:2], size, size).to(filters.dtype)
    return out
