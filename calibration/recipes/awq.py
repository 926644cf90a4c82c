"""AWQ: channels with large inputs are rounded finely (Lin et al., arXiv 2306.00978), in numpy.

Input channel i of a layer is divided by a_i, and its weights are multiplied by a_i. This only
changes the rounding. With a_i = (mean |x_i|)^α, one number α per layer balances loud channels
against the others of their block.
"""

from __future__ import annotations

import numpy as np

from nextomni_edge.calibration.layers import Float
from nextomni_edge.calibration.recipes.gptq import Float64, check_hessian, squared_norm, values
from nextomni_edge.calibration.recipes.int4 import round_blocks
from nextomni_edge.errors import InputError

GRID = 20  # values of α from 0, which is rounding to nearest, up to 1
# of the loudest channel's mean: what is never read must not have its weights blown up
QUIETEST = 1e-4


def awq_smoothing(
    weight: Float,
    hessian: Float64,
    absmean: Float64,
    block_size: int,
    bits: int = 4,
    symmetric: bool = True,
) -> Float:
    """(out, in) float32, H (in, in), mean |x| (in,) → the factor of the layer's input, (in,)
    float32. W is divided by it.

    It takes the α of a grid with the least tr((W − Ŵ) H (W − Ŵ)ᵀ). The factor is 1 everywhere where
    rounding to nearest is best. InputError: H or the means are invalid.
    """
    columns = weight.shape[1]
    check_hessian(hessian, columns)
    if absmean.shape != (columns,) or not np.isfinite(absmean).all() or absmean.min() < 0:
        raise InputError(
            f"mean magnitudes of shape {absmean.shape}, expected {(columns,)}, finite and not"
            " negative"
        )
    candidates = [
        _smoothing(absmean, step / GRID) for step in range(GRID + 1 if absmean.max() > 0 else 1)
    ]
    costs = [
        smoothed_error(weight, smoothing, hessian, block_size, bits, symmetric)
        for smoothing in candidates
    ]
    return candidates[int(np.argmin(costs))]


def smoothed_error(
    weight: Float, smoothing: Float, hessian: Float64, block_size: int, bits: int, symmetric: bool
) -> float:
    """tr((W − Ŵ) H (W − Ŵ)ᵀ), where Ŵ is rounded as W / smoothing."""
    rounded = (
        values(round_blocks(weight / smoothing, block_size, bits, symmetric), weight.shape[1])
        * smoothing
    )
    return float(squared_norm(weight - rounded, hessian).sum())


def _smoothing(absmean: Float64, alpha: float) -> Float:
    """1 / a, scaled so that the geometric mean of a's extremes is 1."""
    raised = (
        np.maximum(absmean, QUIETEST * absmean.max()) ** alpha if alpha else np.ones_like(absmean)
    )
    found: Float = (np.sqrt(raised.max() * raised.min()) / raised).astype(np.float32)
    return found
