"""Bytes and operations of a denoising step, and the roofline's bound on its speed (Williams et al.,
CACM 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.config import HeadConfig, ModelConfig
from nextomni_edge.measure.devices import Device
from nextomni_edge.measure.weights import Precision, component_weights
from nextomni_edge.spec import ComponentName, Modality

FORMULA: Final = "seconds per step ≥ max(weights read / bandwidth, operations / rate)"
FLOAT: Final = 4  # bytes of an activation: the graphs compute in float32


@dataclass(frozen=True)
class Step:
    """One forward without a cache: positions of the prompt and of the answer. It has 1 branch, or 2
    with guidance."""

    modality: Modality
    given: int
    generated: int
    branches: int = 1

    @property
    def rows(self) -> int:
        return (self.given + self.generated) * self.branches


@dataclass(frozen=True)
class Estimate:
    """What a step needs.

    Bytes: `stored` counts the weights of all components. `resident` counts those that the step and
    its loop need, as the device holds them. `read` counts those that a step reads whole. `states`
    counts the keys and values of all positions, if they were kept. `activations` is the largest set
    of values alive at once.

    `operations` of a step: a multiplication and an addition count as two.
    """

    device: Device
    precision: Precision
    step: Step
    stored: int
    resident: int
    read: int
    states: int
    activations: int
    operations: int

    @property
    def needed(self) -> int:
        return self.resident + self.states + self.activations

    @property
    def available(self) -> int:
        return self.device.memory - self.device.reserved

    @property
    def fits(self) -> bool:
        return self.needed <= self.available

    @property
    def memory_seconds(self) -> float:
        return self.read / self.device.bandwidth

    @property
    def arithmetic_seconds(self) -> float:
        return self.operations / self.device.operations[self.precision]

    @property
    def seconds(self) -> float:
        """No step is faster."""
        return max(self.memory_seconds, self.arithmetic_seconds)

    def to_json(self) -> dict[str, Any]:
        names = (
            "precision",
            "stored",
            "resident",
            "read",
            "states",
            "activations",
            "operations",
            "needed",
            "available",
            "fits",
        )
        device = {
            name: getattr(self.device, name)
            for name in ("name", "memory", "reserved", "bandwidth", "source")
        }
        return {name: getattr(self, name) for name in names} | {
            "device": device | {"operations": self.device.operations[self.precision]},
            "step": vars(self.step),
            "memory_seconds": self.memory_seconds,
            "arithmetic_seconds": self.arithmetic_seconds,
            "seconds_per_step_at_least": self.seconds,
            "steps_per_second_at_most": 1 / self.seconds,
            "formula": FORMULA,
        }


def config_weights(config: ModelConfig, precision: Precision) -> dict[str, int]:
    """Bytes of each component's weights in a bundle of a config. UsageError: not the native
    network."""
    return {
        name: sum(weight.nbytes(precision, name) for weight in weights)
        for name, weights in component_weights(config).items()
    }


def bundle_weights(bundle: Bundle) -> tuple[dict[str, int], Precision]:
    """Bytes of the files that each component reads, and the precision in which its backbone
    multiplies."""
    files, records = bundle.manifest.files, bundle.manifest.components
    sizes = {
        name: sum(files[file].size for file in bundle.component_weights(name)) for name in records
    }
    sizes |= {
        name: files[record.file].size for name, record in records.items() if record.format == "gguf"
    }
    backbone = records[ComponentName.BACKBONE]
    if backbone.format == "gguf" and backbone.arithmetic == "int8":
        return sizes, "int8"  # llama.cpp widens 4 bits before it multiplies
    bits = {decision.bits for decision in backbone.quantisation.values()}
    stored: Precision = "float16" if backbone.precision == "float16" else "float32"
    return sizes, stored if not bits else "int4" if 4 in bits else "int8"


def estimate(
    config: ModelConfig,
    weights: Mapping[str, int],
    precision: Precision,
    step: Step,
    device: Device,
) -> Estimate:
    """`weights`: bytes by component.

    The bound holds for any runtime that reads each weight once a step, and multiplies in the
    precision of the device's rate. The runtime's own costs come on top.
    """
    head = f"{step.modality}_head"
    read = weights[ComponentName.BACKBONE] + weights[head]
    resident = read + sum(
        weights[name] for name in {ComponentName.EMBED_TEXT, f"embed_{step.modality}"}
    )
    resident = int(resident * device.loaded.get(precision, 1.0))
    shape = config.backbone
    states = 2 * shape.layers * step.rows * shape.kv_heads * shape.head_dim * FLOAT
    stored, activations, operations = (
        sum(weights.values()),
        _activations(config, step),
        _operations(config, step),
    )
    return Estimate(
        device, precision, step, stored, resident, read, states, activations, operations
    )


def _operations(config: ModelConfig, step: Step) -> int:
    """Products of matrices, and attention's two products of every row with every row."""
    weights, shape = component_weights(config), config.backbone
    per_row = 2 * sum(
        weight.values for weight in weights[ComponentName.BACKBONE] if weight.kind == "matmul"
    )
    attention = 4 * shape.layers * (step.given + step.generated) * step.rows * shape.hidden_size
    return per_row * step.rows + attention + _head_operations(config, step)


def _head_operations(config: ModelConfig, step: Step) -> int:
    """Operations of the heads on the answer's positions. An autoregressive head runs its blocks on
    every sub-code, and each output once."""
    rows, name = step.generated * step.branches, f"{step.modality}_head"
    weights = component_weights(config)[name]
    matrices = [weight.values for weight in weights if weight.kind == "matmul"]
    if step.modality == "text" or _head(config, step).kind == "parallel":
        return 2 * rows * sum(matrices)
    books = next(weight.shape[0] for weight in weights if weight.kind == "einsum")
    outputs = sum(weight.values for weight in weights if weight.kind == "einsum")
    return 2 * rows * (matrices[0] + books * sum(matrices[1:]) + outputs)


def _head(config: ModelConfig, step: Step) -> HeadConfig:
    return config.coded(step.modality).head


def _activations(config: ModelConfig, step: Step) -> int:
    """The largest set of values alive at once. Either a row's residual, its normalisation and three
    rows of the MLP; or attention's scores of all heads; or the logits."""
    shape, length = config.backbone, step.given + step.generated
    mlp = step.rows * (2 * shape.hidden_size + 3 * shape.mlp_size)
    scores = step.rows * (4 * shape.hidden_size + shape.query_heads * length)
    symbols = config.text.vocabulary_size
    if step.modality != "text":
        book = config.coded(step.modality).codebook
        symbols = book.codebooks * book.entries
    return FLOAT * max(mlp, scores, step.generated * step.branches * symbols)
