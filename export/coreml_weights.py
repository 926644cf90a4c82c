"""A quantised bundle's integers in a Core ML program: one decision, stored in another format.

coremltools.optimize would choose other integers. This module takes the bundle's integers unchanged,
in the operator that coremltools writes too. So both formats mean the same weights to the last bit;
in a float16 program, to the rounding of scale and product. Only weights are compressed: the
rounding of activations does not carry over. Palettes are coremltools.optimize's k-means over the
same layers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import coremltools
import numpy as np
import torch
from coremltools.converters.mil import Builder
from coremltools.converters.mil.mil import Program, types
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle, Decision
from nextomni_edge.bundle.coreml_package import HALF, QUANTIZED, constant_name
from nextomni_edge.bundle.quantised import (
    QUANTISED,
    SCALE,
    SMOOTHING,
    ZERO_POINT,
    read_parts,
    stored_layers,
    unpack,
)
from nextomni_edge.errors import InputError, NextOmniError
from nextomni_edge.models.components import Component
from nextomni_edge.verify.coreml_weights import package_weights
from nextomni_edge.verify.fake_quantised import smooth, weight_error

Array = NDArray[Any]
Parts = Mapping[str, Array]
PASS: Final = "nextomni::stored_integers"


@dataclass(frozen=True)
class ShiftScale:
    """Operands of constexpr_blockwise_shift_scale for a weight in the model's layout: Ŵ = scale ·
    (data − offset)."""

    data: Array
    scale: NDArray[np.float32]
    offset: Array | None
    bits: int


def shift_scale(decision: Decision, parts: Parts, shape: tuple[int, ...]) -> ShiftScale:
    """The operands whose values equal those of `bundle.quantised.dequantise` for the same parts."""
    if decision.scheme == "blocks":
        return _from_blocks(decision, parts, shape)
    q, scale = parts[QUANTISED], parts[SCALE].astype(np.float32)
    if decision.operator == "matmul":
        q = q.T
    if decision.operator != "einsum":
        scale = scale.reshape(-1, *[1] * (q.ndim - 1))
    return ShiftScale(np.ascontiguousarray(q).reshape(shape), scale, None, decision.bits)


def _from_blocks(decision: Decision, parts: Parts, shape: tuple[int, ...]) -> ShiftScale:
    rows, columns = shape
    scale = parts[SCALE].astype(np.float32).reshape(rows, -1)
    q = unpack(parts[QUANTISED].reshape(rows, scale.shape[1], -1), decision.bits).reshape(rows, -1)[
        :, :columns
    ]
    zero = np.full(scale.shape, 2 ** (decision.bits - 1), np.uint8)
    if ZERO_POINT in parts:
        zero = unpack(parts[ZERO_POINT].reshape(rows, -1), decision.bits)[:, : scale.shape[1]]
    # Core ML's blocks divide a row; those of ONNX Runtime may stick out at its end: smaller ones
    # with the same scale then.
    size = q.shape[1] if decision.block_size is None else decision.block_size
    cut = math.gcd(size, columns)
    owner = np.arange(columns // cut) * cut // size
    scale, zero = scale[:, owner], zero[:, owner]
    # A symmetric block's scale may be negative, which no tool of Apple's writes: (q − z)·s = ((m −
    # q) − (m − z))·(−s).
    largest, flipped = np.uint8(2**decision.bits - 1), scale < 0
    q = np.where(np.repeat(flipped, cut, axis=1), largest - q, q)
    return ShiftScale(q, np.abs(scale), np.where(flipped, largest - zero, zero), decision.bits)


class Like:
    """The decisions of a quantised bundle of ONNX graphs, and its stored parts. InputError: it is
    no such bundle.

    `palettes`: its layers get 2^bits values each in place of its integers.
    """

    def __init__(self, bundle: Bundle, palettes: bool = False) -> None:
        if bundle.manifest.quantisation is None or any(
            not part.stored_as.onnx for part in bundle.manifest.components.values()
        ):
            raise InputError(
                f"{bundle.path}: not a quantised bundle of ONNX graphs; make one with"
                " `nextomni-edge quantize`"
            )
        self.bundle, self.palettes, self.made = bundle, palettes, bundle.manifest.quantisation

    def layers(self, component: str) -> dict[str, tuple[Decision, Parts]]:
        """By weight, the decision in Core ML's terms, and the parts. InputError: the bundle lacks
        the component."""
        stored = stored_layers(self.bundle.component_file(component))
        decisions = self.bundle.manifest.components[component].quantisation
        return {
            weight: (self._of_weights_alone(decision), read_parts(self.bundle.path, stored[weight]))
            for weight, decision in decisions.items()
        }

    def _of_weights_alone(self, decision: Decision) -> Decision:
        if decision.scheme == "float8" and not self.palettes:
            raise InputError(
                f"{self.bundle.path}: Core ML has no E4M3; give --like a bundle of INT8 or INT4, or"
                " take --palettes"
            )
        if self.palettes:
            return Decision("palette", decision.operator, decision.bits, "kmeans")
        kept = decision.scheme in ("blocks", "rows", "stored")
        scheme = decision.scheme if kept else "stored"
        return dataclasses.replace(
            decision, scheme=scheme, activation=None, output=None, divergence=None
        )


@register_pass(namespace="nextomni")
class stored_integers(AbstractGraphPass):  # type: ignore[misc]  # the registry takes the class's name for the pass's
    """Replaces constants by `layers`, by the constants' names. One conversion at a time."""

    layers: ClassVar[Mapping[str, ShiftScale]] = {}  # the registry makes a new object each time

    def apply(self, program: Program) -> None:
        """NextOmniError: a layer's weight is no constant of the program, or has another shape
        there."""
        missing = dict(self.layers)
        for function in program.functions.values():
            for operation in list(function.operations):
                name = operation.name.removesuffix(HALF)
                if operation.op_type == "const" and name in missing:
                    _replace(function, operation, missing.pop(name))
        if missing:
            raise NextOmniError(
                f"the converter kept no weight {', '.join(sorted(missing))}; nothing was compressed"
                " there"
            )


def _replace(block: Any, constant: Any, layer: ShiftScale) -> None:
    value = constant.outputs[0]
    if tuple(value.shape) != layer.data.shape:
        raise NextOmniError(
            f"{constant.name} is {tuple(value.shape)} in the program, {layer.data.shape} in the"
            " bundle"
        )
    integer = types.string_to_builtin(f"{'int' if layer.offset is None else 'uint'}{layer.bits}")
    kind = types.nptype_from_builtin(integer)
    precision = types.nptype_from_builtin(value.dtype)
    with block:
        found = Builder.constexpr_blockwise_shift_scale(
            data=layer.data.astype(kind), scale=layer.scale.astype(precision),
            offset=None if layer.offset is None else layer.offset.astype(kind),
            before_op=constant, name=constant.name + QUANTIZED,
        )  # fmt: skip
    block.replace_uses_of_var_after_op(
        anchor_op=constant, old_var=value, new_var=found, no_check_var_types=True
    )
    block.remove_ops([constant])


class Compression:
    """The compression of one component by `like`: give `pipeline` to the converter, then `finish`
    its result."""

    def __init__(self, like: Like, component: Component) -> None:
        self._weights = dict(component.module.named_parameters(remove_duplicate=False))
        self.like, layers = like, like.layers(component.name)
        # of a chunk, its own
        self._layers = {
            weight: layer for weight, layer in layers.items() if weight in self._weights
        }
        if not like.palettes:
            smooth(
                component.module,
                {
                    weight: parts[SMOOTHING]
                    for weight, (_, parts) in self._layers.items()
                    if SMOOTHING in parts
                },
            )

    def pipeline(self) -> coremltools.PassPipeline:
        """The converter's passes, followed by the one that inserts the integers."""
        pipeline = coremltools.PassPipeline()
        if not self.like.palettes:
            stored_integers.layers = {
                constant_name(weight): shift_scale(
                    decision, parts, tuple(self._weights[weight].shape)
                )
                for weight, (decision, parts) in self._layers.items()
            }
            pipeline.append_pass(PASS)
        return pipeline

    def finish(self, model: Any, precision: str) -> Any:
        """The converted model, with its palettes where asked for."""
        if not self.like.palettes or not self._layers:
            return model
        ending = HALF if precision == "float16" else ""
        config = coremltools.optimize.coreml.OptimizationConfig(
            op_name_configs={
                constant_name(weight) + ending: coremltools.optimize.coreml.OpPalettizerConfig(
                    mode="kmeans", nbits=decision.bits, weight_threshold=0
                )
                for weight, (decision, _) in self._layers.items()
            }
        )
        return coremltools.optimize.coreml.palettize_weights(model, config)

    def decisions(self, package: Path) -> dict[str, Decision]:
        """For the manifest, by weight, from the written package: its error against the model's
        weight, and its bytes."""
        found, decisions = {}, {weight: decision for weight, (decision, _) in self._layers.items()}
        for weight, stored in package_weights(package, decisions).items():
            error = weight_error(torch.tensor(stored.meant()), self._weights[weight])
            found[weight] = dataclasses.replace(
                decisions[weight], weight_error=error, bytes=stored.bytes
            )
        return found
