"""What calibration decides for a layer: ranges of static inputs, scales that move between inputs
and weights, and GPTQ's rounding."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from nextomni_edge.bundle import Bundle, Decision
from nextomni_edge.bundle.onnx_graph import load_graph
from nextomni_edge.calibration.data.observers import observe
from nextomni_edge.calibration.data.samples import CalibrationSet
from nextomni_edge.calibration.data.statistics import Float64, LayerStatistics
from nextomni_edge.calibration.layers import Float, Layer, weight_of
from nextomni_edge.calibration.recipes.awq import awq_smoothing
from nextomni_edge.calibration.recipes.config import Fp8, Int4, Int8Static, Mixed, QuantConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats import float8

HESSIANS: Final = 2**30  # bytes of them that are accumulated in one replay of the calibration set
# of the loudest channel: what is never read must not have its weights blown up
QUIETEST: Final = 1e-5
METHODS: Final = ("gptq", "awq", "smoothquant")


@dataclass(frozen=True)
class Inputs:
    """What calibration found for a layer. Its input's factor (in,) float32; scale and zero point of
    a static input, and of a static convolution's output; H (in, in) for GPTQ. None where the
    decision does not need it."""

    smoothing: Float | None = None
    activation: tuple[float, float] | None = None
    output: tuple[float, float] | None = None
    hessian: Float64 | None = None


def needs_calibration(decision: Decision) -> bool:
    return decision.scheme in ("static", "float8") or decision.method in METHODS


def inputs_of(
    parent: Bundle,
    calibration: CalibrationSet | None,
    config: QuantConfig,
    plan: Mapping[str, Decision],
    layers: Collection[Layer],
) -> dict[str, Inputs]:
    """The calibration of layers that need one, by name. Layers that read one value get one
    smoothing, so the value is multiplied once.

    UsageError: a layer needs one, and there is no calibration set. InputError: the set never
    reaches a layer.
    """
    wanted = [
        layer for layer in layers if layer.name in plan and needs_calibration(plan[layer.name])
    ]
    if not wanted:
        return {}
    if calibration is None:
        raise UsageError(
            "this recipe reads the layers' inputs off a calibration set: give one with"
            " --calibration"
        )
    found: dict[str, Inputs] = {}
    for groups in _portions(_groups(wanted), plan):
        members = [layer for group in groups for layer in group]
        hessian = [layer.name for layer in members if plan[layer.name].method in ("gptq", "awq")]
        given = [layer.after for layer in members if layer.operator == "conv"]
        weight = _frontier(config)
        statistics = observe(parent, calibration, [*members, *given], hessian, frontier=weight)
        for name, observed in statistics.items():
            if not observed.seen:
                raise InputError(
                    f"{name}: the calibration set never reaches this layer; add prompts of the task"
                    " that does"
                )
        smoothing = _smoothing(parent, groups, plan, statistics, config)
        ranged = [
            layer
            for layer in members
            if plan[layer.name].scheme == "static" and layer.name in smoothing
        ]
        statistics |= observe(parent, calibration, ranged, smoothing=smoothing) if ranged else {}
        for layer in members:
            found[layer.name] = _inputs(
                layer, plan[layer.name], smoothing.get(layer.name), statistics, config
            )
    return found


def _groups(layers: Iterable[Layer]) -> list[list[Layer]]:
    """Layers that read one value."""
    found: dict[tuple[str, str], list[Layer]] = {}
    for layer in layers:
        found.setdefault((layer.component, layer.input), []).append(layer)
    return list(found.values())


def _portions(
    groups: list[list[Layer]], plan: Mapping[str, Decision]
) -> Iterable[list[list[Layer]]]:
    """Groups whose Hessians together fit in `HESSIANS`; without any, all at once."""
    portion: list[list[Layer]] = []
    size = 0
    for group in groups:
        own = 8 * group[0].features ** 2 if plan[group[0].name].method in ("gptq", "awq") else 0
        if portion and size + own > HESSIANS:
            yield portion
            portion, size = [], 0
        portion.append(group)
        size += own
    yield portion


def _smoothing(
    parent: Bundle,
    groups: Iterable[list[Layer]],
    plan: Mapping[str, Decision],
    statistics: Mapping[str, LayerStatistics],
    config: QuantConfig,
) -> dict[str, Float]:
    """The factor of each smoothed layer's input. Layers that read one value share it."""
    found: dict[str, Float] = {}
    for group in groups:
        decision, seen = plan[group[0].name], statistics[group[0].name]
        if not decision.smoothed:
            continue
        weights = _together(parent, group)
        if decision.method == "awq":
            # asked for above; the manifest's check
            assert seen.hessian is not None and decision.block_size is not None
            how = decision.block_size, decision.bits, decision.symmetric
            smoothing = awq_smoothing(weights, seen.hessian, seen.absmean, *how)
        else:
            smoothing = smoothquant(
                seen.absmax, np.abs(weights).max(axis=0), _static(config).smoothing
            )
        found |= dict.fromkeys((layer.name for layer in group), smoothing)
    return found


def _inputs(
    layer: Layer,
    decision: Decision,
    smoothing: Float | None,
    statistics: Mapping[str, LayerStatistics],
    config: QuantConfig,
) -> Inputs:
    """`statistics` describe the product's input; for a static layer, after the smoothing."""
    seen = statistics[layer.name]
    if isinstance(config, Fp8):
        return Inputs(activation=balanced(*seen.range(config.range), float(float8.LARGEST), 0.0))
    if decision.scheme != "static":
        return Inputs(smoothing, hessian=seen.hessian if decision.method == "gptq" else None)
    static = _static(config)
    rounding = balanced if static.symmetric else affine
    output = (
        rounding(*statistics[layer.after.name].range(static.range))
        if layer.operator == "conv"
        else None
    )
    return Inputs(smoothing, rounding(*seen.range(static.range)), output)


def _frontier(config: QuantConfig) -> float:
    """How many times a row that is decided next counts in H."""
    found = config.int4 if isinstance(config, Mixed) else config
    return found.frontier if isinstance(found, Int4) else 1.0


def _static(config: QuantConfig) -> Int8Static:
    """The recipe's settings of static inputs and their smoothing."""
    found = config.media if isinstance(config, Mixed) else config
    assert isinstance(found, Int8Static)  # no other makes such
    return found


def _together(parent: Bundle, group: list[Layer]) -> Float:
    """The stacked weights of layers that read one value, (Σ out, in)."""
    model = load_graph(parent, group[0].component)
    return np.concatenate([weight_of(model, layer).matrix() for layer in group])


def smoothquant(inputs: Float64, weights: Float, alpha: float) -> Float:
    """Largest |x| (in,) and |W| (in,) of each channel → the factor of x, (in,) float32:
    max|W|^(1−α) / max|x|^α."""
    x = np.maximum(inputs, QUIETEST * max(float(inputs.max()), 1e-30))
    w = np.maximum(weights, QUIETEST * max(float(weights.max()), 1e-30))
    return (w ** (1 - alpha) / x**alpha).astype(np.float32)


def affine(low: float, high: float) -> tuple[float, float]:
    """Scale and zero point, 0 to 255, of a range. 0 is in it and exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255)) or 1.0
    return scale, float(np.clip(np.rint(-low / scale), 0, 255))


def balanced(
    low: float, high: float, largest: float = 127.0, zero: float = 128.0
) -> tuple[float, float]:
    """Scale and zero point of a symmetric range up to `largest`. In uint8, 1 to 255 stand for −127
    to 127."""
    return float(np.float32(max(-low, high, 0.0) / largest)) or 1.0, zero
