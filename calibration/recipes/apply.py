"""One decision carried out on one weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.quantised import FLOAT8_NAME, QUANTISED, SCALE, SMOOTHING
from nextomni_edge.calibration.layers import Float, Weight
from nextomni_edge.calibration.recipes.calibrated import Inputs
from nextomni_edge.calibration.recipes.gptq import gptq, values
from nextomni_edge.calibration.recipes.handlers import dividing
from nextomni_edge.calibration.recipes.int4 import packed, quantise_blocks, quantise_einsum
from nextomni_edge.calibration.recipes.int8 import FLOAT8, INT8, quantise_channels
from nextomni_edge.calibration.recipes.parts import ErrorSum, Parts

# of packed parts: what they are to onnx, dtype and shape
Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


def quantise_weight(
    weight: Weight, decision: Decision, inputs: Inputs | None = None
) -> tuple[Decision, Parts, Shapes]:
    """The decision with its measured error, the parts, and the onnx form of packed parts.

    `inputs` holds the calibration of decisions that need one. InputError: the weight is not finite.
    """
    inputs = inputs or Inputs()
    factor = None if inputs.smoothing is None else np.float32(1) / inputs.smoothing
    parts, error = _quantised(weight, decision, inputs, factor)
    if inputs.smoothing is not None:
        parts[SMOOTHING] = inputs.smoothing
    read, given = inputs.activation or decision.activation, inputs.output or decision.output
    done = dataclasses.replace(decision, weight_error=error, activation=read, output=given)
    return done, parts, _shapes(weight, decision, parts)


def _quantised(
    weight: Weight, decision: Decision, inputs: Inputs, factor: Float | None
) -> tuple[Parts, float]:
    if decision.scheme == "blocks":
        assert decision.block_size is not None  # the manifest's check
        if inputs.hessian is not None:
            return _gptq(weight, decision, inputs.hessian, decision.block_size)
        return quantise_blocks(
            weight, decision.block_size, decision.bits, decision.symmetric, factor
        )
    if decision.bits == 4:
        return quantise_einsum(weight, dividing(32, weight.layer.features) or weight.layer.features)
    return quantise_channels(weight, factor, FLOAT8 if decision.scheme == "float8" else INT8)


def _gptq(
    weight: Weight, decision: Decision, hessian: NDArray[np.float64], block_size: int
) -> tuple[Parts, float]:
    matrix, errors = weight.matrix(), ErrorSum(weight, None)
    blocks = gptq(matrix, hessian, block_size, decision.bits, decision.symmetric)
    found: NDArray[Any] = values(blocks, matrix.shape[1]).astype(np.float32)
    across = weight.layer.operator == "matmul"
    errors.add(0, matrix.T if across else matrix, found.T if across else found)
    return packed(*blocks, decision.bits, decision.symmetric), errors.relative()


def _shapes(weight: Weight, decision: Decision, parts: Parts) -> Shapes:
    layer = weight.layer
    if decision.scheme == "blocks" and layer.operator == "gather":
        return {QUANTISED: ("uint8", (layer.shape[0], parts[QUANTISED][0].size))}
    if decision.scheme == "stored" and decision.bits == 4:
        return {QUANTISED: ("int4", layer.shape)}
    if decision.scheme == "float8":
        return {QUANTISED: (FLOAT8_NAME, layer.shape)}
    if decision.scheme == "stored" and layer.operator in ("conv", "linear"):
        return {SCALE: ("float32", (layer.shape[0], *[1] * (len(layer.shape) - 1)))}
    return {}
