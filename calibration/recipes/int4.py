"""INT4 arrays in blocks along the summed axis, each with a float16 scale: the form that MatMulNBits
and GatherBlockQuantized read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle.quantised import QUANTISED, SCALE, ZERO_POINT, pack
from nextomni_edge.calibration.layers import Float, Weight
from nextomni_edge.calibration.recipes.parts import ErrorSum, Parts
from nextomni_edge.errors import InputError

Bytes = NDArray[np.uint8]
SMALLEST = np.float32(2**-24)  # of float16's positive values


def block_scales(blocks: Float, bits: int, symmetric: bool) -> tuple[Float, Float]:
    """Scale and zero point, each (…, 1) float32, of blocks (…, block_size); scales are float16's
    values.

    Symmetric: the value of largest magnitude becomes −2^(bits−1) exactly, whatever its sign (the
    scale takes the sign), so no integer is wasted. The zero point is 2^(bits−1). Otherwise the
    block's range, 0 included, is spread over all integers.
    """
    levels = 2**bits - 1
    if symmetric:
        place = np.abs(blocks).argmax(axis=-1)[..., None]
        raw = np.take_along_axis(blocks, place, axis=-1) / np.float32(-(2 ** (bits - 1)))
        scale = rounded_scale(raw)
        return scale, np.full_like(scale, 2 ** (bits - 1))
    low, high = (
        np.minimum(blocks.min(axis=-1, keepdims=True), 0),
        np.maximum(blocks.max(axis=-1, keepdims=True), 0),
    )
    scale = rounded_scale((high - low) / np.float32(levels))
    return scale, np.clip(np.rint(-low / scale), 0, levels)


def rounded_scale(raw: Float) -> Float:
    """Scales rounded to float16, never 0 (a block of zeros has scale 1)."""
    with np.errstate(over="ignore"):
        scale = raw.astype(np.float16).astype(np.float32)
    if not np.isfinite(scale).all():
        raise InputError(f"a scale of {np.abs(raw).max():.3g} does not fit float16")
    tiny = np.where(raw < 0, -SMALLEST, SMALLEST)
    found: Float = np.where(raw == 0, np.float32(1), np.where(scale == 0, tiny, scale))
    return found


def round_blocks(
    matrix: Float, block_size: int, bits: int, symmetric: bool
) -> tuple[Bytes, Float, Bytes]:
    """(rows, in) → integers (rows, blocks, block_size) uint8, scales (rows, blocks) float32, zero
    points (rows, blocks) uint8."""
    blocks = in_blocks(matrix, block_size)
    scale, zero = block_scales(blocks, bits, symmetric)
    q = np.clip(np.rint(blocks / scale) + zero, 0, 2**bits - 1).astype(np.uint8)
    return q, scale[..., 0], zero[..., 0].astype(np.uint8)


def in_blocks(matrix: Float, block_size: int) -> Float:
    """(rows, in) → (rows, blocks, block_size), padded with zeros."""
    rows, columns = matrix.shape
    padded = np.pad(matrix, ((0, 0), (0, -columns % block_size)))
    return padded.reshape(rows, -1, block_size)


def packed(q: Bytes, scale: Float, zero: Bytes, bits: int, symmetric: bool) -> Parts:
    """The parts of integers (out, blocks, block_size), scales and zero points (out, blocks)."""
    parts: Parts = {QUANTISED: pack(q, bits), SCALE: scale.astype(np.float16)}
    return parts if symmetric else parts | {ZERO_POINT: pack(zero, bits)}


def quantise_blocks(
    weight: Weight,
    block_size: int,
    bits: int = 4,
    symmetric: bool = True,
    factor: Float | None = None,
) -> tuple[Parts, float]:
    """Round to nearest in blocks: a layer's parts, and ‖Ŵ − W‖ / ‖W‖. `factor` (in,) multiplies W
    first.

    It works in pieces: memory holds the packed result and one piece.
    """
    rows, columns = weight.layer.model_shape
    count = -(-columns // block_size)
    integers = np.empty((rows, count, block_size * bits // 8), np.uint8)
    scales, zeros, errors = (
        np.empty((rows, count), np.float16),
        np.empty((rows, count), np.uint8),
        ErrorSum(weight, factor),
    )
    across = weight.layer.operator == "matmul"
    for start, piece in weight.pieces(block_size if across else 1):
        matrix = piece.T if across else piece
        if factor is not None:
            matrix = matrix * (factor[start : start + len(piece)] if across else factor)
        q, scale, zero = round_blocks(matrix, block_size, bits, symmetric)
        first = start // block_size
        place = (
            (slice(None), slice(first, first + q.shape[1]))
            if across
            else (slice(start, start + len(piece)), slice(None))
        )
        integers[place], scales[place], zeros[place] = pack(q, bits), scale, zero
        values = ((q.astype(np.float32) - zero[..., None]) * scale[..., None]).reshape(
            len(matrix), -1
        )[:, : matrix.shape[1]]
        errors.add(start, piece, values.T if across else values)
    parts: Parts = {QUANTISED: integers, SCALE: scales}
    if not symmetric:
        parts[ZERO_POINT] = pack(zeros, bits)
    return parts, errors.relative()


def quantise_einsum(weight: Weight, block_size: int) -> tuple[Parts, float]:
    """A matrix per sub-code (K, in, out) in signed 4-bit values, packed, with scales (K, blocks,
    out) float32.

    `block_size` divides `in`. The runtime dequantises such weights before it computes.
    """
    values = weight.whole()
    books, columns, out = values.shape
    blocks = values.reshape(books, -1, block_size, out)
    peak = np.abs(blocks).max(axis=2, keepdims=True)
    scale = (np.where(peak > 0, peak, 7) / 7).astype(np.float32)
    q = np.clip(np.rint(blocks / scale), -8, 7)
    errors = ErrorSum(weight, None)
    errors.add(0, values, (q * scale).astype(np.float32).reshape(books, columns, out))
    nibbles = (q.astype(np.int8).reshape(-1) & 15).astype(np.uint8)
    return {QUANTISED: pack(nibbles, 4), SCALE: scale[:, :, 0]}, errors.relative()
