"""From a config to a decision for each layer: the registry. A handler reads no weight and returns a
plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.manifest import BLOCK_SIZES
from nextomni_edge.calibration.layers import Layer
from nextomni_edge.calibration.recipes.config import (
    WEIGHTS_ALONE,
    Fp8,
    Int4,
    Int8Dynamic,
    Int8Static,
    QuantConfig,
)
from nextomni_edge.spec import ComponentName

HEADS: Final = (ComponentName.TEXT_HEAD, ComponentName.IMAGE_HEAD, ComponentName.AUDIO_HEAD)


def decide(config: QuantConfig, layer: Layer) -> Decision | None:
    """A config's plan for a layer; None leaves the layer unchanged."""
    return None if layer.component in config.skip else HANDLERS[type(config)](config, layer)


def _int8_dynamic(config: Int8Dynamic, layer: Layer) -> Decision:
    if layer.operator == "gather":
        return Decision("rows", layer.operator, 8)
    alone = layer.operator in ("conv", "einsum") or layer.component in WEIGHTS_ALONE
    if alone:
        return Decision("stored", layer.operator, 8)
    return Decision(
        "per_token" if config.granularity == "token" else "per_tensor", layer.operator, 8
    )


def _int8_static(config: Int8Static, layer: Layer) -> Decision:
    left = layer.component in WEIGHTS_ALONE and (
        config.encoders == "weights" or layer.component == ComponentName.IMAGE_QUANTISER
    )
    if layer.operator == "conv" and config.convolutions == "static" and not left:
        return Decision("static", layer.operator, 8)
    if layer.operator in ("matmul", "linear") and not left:
        return Decision(
            "static",
            layer.operator,
            8,
            "smoothquant" if config.smoothing else "rtn",
            smoothed=config.smoothing > 0,
        )
    return _int8_dynamic(Int8Dynamic(), layer)


def _int4(config: Int4, layer: Layer) -> Decision | None:
    bits = (
        config.table_bits
        if layer.operator == "gather"
        else config.head_bits
        if layer.component in HEADS
        else 4
    )
    if bits == 32:
        return None
    if bits == 8 or layer.operator == "conv" or layer.component in WEIGHTS_ALONE:
        return _int8_dynamic(Int8Dynamic(), layer)
    fitting = dividing(config.block_size, layer.features)
    if layer.operator in ("gather", "einsum"):
        if fitting is None:
            return _int8_dynamic(Int8Dynamic(), layer)
        if layer.operator == "einsum":
            return Decision("stored", layer.operator, 4)
        return Decision("blocks", layer.operator, 4, block_size=fitting, symmetric=config.symmetric)
    # A table that a head shares with its embedding has one store where both cut it alike.
    block_size = (
        fitting if layer.operator == "linear" and fitting is not None else config.block_size
    )
    smoothed = config.method == "awq"
    return Decision(
        "blocks", layer.operator, 4, config.method, block_size, config.symmetric, smoothed
    )


def _fp8(_: Fp8, layer: Layer) -> Decision | None:
    if layer.operator in ("matmul", "linear") and layer.component not in WEIGHTS_ALONE:
        return Decision("float8", layer.operator, 8)
    # Of a matrix per sub-code TensorRT reads no 8 bits: it has one scale for all of an output's
    # matrices.
    return None if layer.operator == "einsum" else _int8_dynamic(Int8Dynamic(), layer)


def dividing(block_size: int, length: int) -> int | None:
    """The largest block size, up to the wanted one, that divides a row: neither a gather nor an
    einsum can pad a block."""
    return max(
        (size for size in BLOCK_SIZES if size <= block_size and length % size == 0), default=None
    )


HANDLERS: Final[dict[type[QuantConfig], Callable[[Any, Layer], Decision | None]]] = {
    Int8Dynamic: _int8_dynamic, Int8Static: _int8_static, Int4: _int4, Fp8: _fp8,
}  # fmt: skip
