"""Compressed weights of an ML Program (operators of iOS 18) as numbers: the values that Core ML
computes when it loads a package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError

Array = NDArray[Any]


def constexpr_blockwise_shift_scale(
    data: Array, scale: Array, offset: Array | None = None
) -> Array:
    """scale · (data − offset) for integers of any rank; float32. Each axis of `scale` and `offset`
    cuts the integers into blocks."""
    shifted = data.astype(np.float32)
    if offset is not None:
        shifted -= _per_value(offset.astype(np.float32), data.shape)
    found: Array = shifted * _per_value(scale, data.shape)
    return found


def constexpr_lut_to_dense(indices: Array, lut: Array) -> Array:
    """indices of rank n, lut of rank n + 2 → float32 of the indices' shape. Each block of the
    indices has a table (entries, 1)."""
    entries = lut.shape[-2]
    if lut.shape[-1] != 1:
        raise InputError(
            f"a palette of vectors of {lut.shape[-1]}, only single values are known here"
        )
    if indices.size and int(indices.max()) >= entries:
        raise InputError(f"a palette of {entries} entries is asked for entry {int(indices.max())}")
    palettes = np.arange(lut.size // entries, dtype=np.int64).reshape(lut.shape[:-2])
    found: Array = lut.reshape(-1, entries)[_per_value(palettes, indices.shape), indices]
    return found


def _per_value(block: Array, shape: tuple[int, ...]) -> Array:
    """Repeat along every axis up to the length of `shape`. InputError: blocks do not divide it."""
    if block.ndim != len(shape) or any(
        not cut or size % cut for cut, size in zip(block.shape, shape, strict=True)
    ):
        raise InputError(f"blocks {block.shape} do not divide a weight of shape {shape}")
    for axis, (cut, size) in enumerate(zip(block.shape, shape, strict=True)):
        block = np.repeat(block, size // cut, axis) if cut not in (1, size) else block
    return np.broadcast_to(block, shape)


COMPRESSED: Final[dict[str, Callable[..., Array]]] = {
    "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
}
