"""One decision carried out on one weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.quantised import QUANTISED, SCALE
from nextomni_edge.calibration.graph import Weight
from nextomni_edge.calibration.handlers import dividing
from nextomni_edge.calibration.int4 import quantise_blocks, quantise_einsum
from nextomni_edge.calibration.int8 import quantise_channels
from nextomni_edge.calibration.parts import Parts

Stored = Mapping[str, tuple[str, tuple[int, ...]]]  # of packed parts: what they are to onnx, dtype and shape


def quantise_weight(weight: Weight, decision: Decision) -> tuple[Decision, Parts, Stored]:
    """The decision with what was measured, the parts, and how onnx sees those that are packed. Needs no calibration."""
    layer, packed = weight.layer, dict[str, tuple[str, tuple[int, ...]]]()
    if decision.scheme == "blocks":
        assert decision.block_size is not None  # the manifest's check
        parts, error = quantise_blocks(weight, decision.block_size, decision.bits, decision.symmetric)
        if layer.operator == "gather":
            packed[QUANTISED] = ("uint8", (layer.shape[0], parts[QUANTISED][0].size))
    elif decision.bits == 4:
        parts, error = quantise_einsum(weight, dividing(32, layer.features) or layer.features)
        packed[QUANTISED] = ("int4", layer.shape)
    else:
        parts, error = quantise_channels(weight)
        if layer.operator in ("conv", "linear") and decision.scheme == "stored":
            packed[SCALE] = ("float32", (layer.shape[0], *[1] * (len(layer.shape) - 1)))
    return dataclasses.replace(decision, weight_error=error), parts, packed
