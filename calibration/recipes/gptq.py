"""GPTQ: each later column compensates the rounding error of the earlier ones (Frantar et al., arXiv
2210.17323), in numpy.

For a layer y = W·x the rounding Ŵ costs E‖(W − Ŵ)x‖² = tr((W − Ŵ) H (W − Ŵ)ᵀ) with H = E[x xᵀ].
Columns are rounded one after another. With H⁻¹ = UᵀU, U upper triangular, the columns after column
i compensate its error as well as possible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.calibration.layers import Float
from nextomni_edge.calibration.recipes.int4 import Bytes, block_scales, in_blocks, round_blocks
from nextomni_edge.errors import InputError

Float64 = NDArray[np.float64]
# integers (out, blocks, block_size), scales and zero points (out, blocks)
Blocks = tuple[Bytes, Float, Bytes]

# of the mean of H's diagonal: a calibration set has fewer directions than a layer has inputs
DAMPING = 0.01


def gptq(
    weight: Float, hessian: Float64, block_size: int, bits: int = 4, symmetric: bool = True
) -> Blocks:
    """(out, in) float32 and H (in, in) float64 → integers, scales and zero points, as
    `int4.round_blocks` gives them.

    A block's grid is made when its first column is reached, from the values at that point. Where H
    says that rounding to nearest is better for an output row, the row is rounded to nearest, so the
    error is never larger. InputError: H is invalid.
    """
    check_hessian(hessian, weight.shape[1])
    nearest = round_blocks(weight, block_size, bits, symmetric)
    q, scale, zero = np.empty_like(nearest[0]), np.empty_like(nearest[1]), np.empty_like(nearest[2])
    factor, left, columns = inverse_factor(hessian), weight.astype(np.float64), weight.shape[1]
    for block, start in enumerate(range(0, columns, block_size)):
        stop = min(start + block_size, columns)
        grid = in_blocks(left[:, start:stop].astype(np.float32), block_size)
        scales, zeros = (
            array[:, 0].astype(np.float64) for array in block_scales(grid, bits, symmetric)
        )
        scale[:, block], zero[:, block], q[:, block] = scales[:, 0], zeros[:, 0], zeros
        errors = np.empty((len(weight), stop - start))
        for i in range(start, stop):
            rounded = np.clip(np.rint(left[:, i, None] / scales) + zeros, 0, 2**bits - 1)
            q[:, block, i - start] = rounded[:, 0]
            errors[:, i - start] = (left[:, i] - ((rounded - zeros) * scales)[:, 0]) / factor[i, i]
            left[:, i + 1 : stop] -= errors[:, i - start, None] * factor[i, i + 1 : stop]
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    worse = row_error(weight, (q, scale, zero), hessian) > row_error(weight, nearest, hessian)
    q[worse], scale[worse], zero[worse] = nearest[0][worse], nearest[1][worse], nearest[2][worse]
    return q, scale, zero


def row_error(weight: Float, blocks: Blocks, hessian: Float64) -> Float64:
    """(W − Ŵ) H (W − Ŵ)ᵀ for every output row, (out,)."""
    return squared_norm(weight.astype(np.float64) - values(blocks, weight.shape[1]), hessian)


def squared_norm(error: Float64, hessian: Float64) -> Float64:
    """e H eᵀ of every row e of (out, in)."""
    found: Float64 = np.einsum("oi,oi->o", error @ hessian, error)
    return found


def values(blocks: Blocks, columns: int) -> Float64:
    """Ŵ (out, columns) of integers, scales and zero points."""
    q, scale, zero = (array.astype(np.float64) for array in blocks)
    found: Float64 = ((q - zero[..., None]) * scale[..., None]).reshape(len(q), -1)[:, :columns]
    return found


def inverse_factor(hessian: Float64) -> Float64:
    """U, upper triangular, with H⁻¹ = UᵀU for the damped H. An input that never occurred counts as
    one without correlation."""
    damped = hessian.copy()
    diagonal = np.einsum("ii->i", damped)
    diagonal[diagonal == 0] = 1.0
    diagonal += DAMPING * diagonal.mean()
    # With rows and columns reversed H = LLᵀ, and the reverse of L⁻¹ is U: no inverse of H is
    # formed, which would lose its symmetry.
    lower = np.linalg.cholesky(damped[::-1, ::-1])
    found: Float64 = np.linalg.solve(lower, np.eye(len(lower)))[::-1, ::-1]
    return found


def check_hessian(hessian: Float64, columns: int) -> None:
    """InputError unless H is (columns, columns), finite, symmetric, and no diagonal entry is
    negative."""
    if hessian.shape != (columns, columns):
        raise InputError(
            f"Hessian of shape {hessian.shape}, expected {(columns, columns)}: calibrate with this"
            " model"
        )
    if (
        not np.isfinite(hessian).all()
        or not np.allclose(hessian, hessian.T)
        or np.diag(hessian).min() < 0
    ):
        raise InputError("Hessian: not finite, or no sum of x·xᵀ; calibrate again")
