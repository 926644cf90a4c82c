"""The values of a Core ML package's compressed weights, by the model's names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.coreml_package import (
    HALF,
    PALETTIZED,
    QUANTIZED,
    chunks,
    constant_name,
    read_blob,
    read_package,
)
from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import BITS, Operation
from nextomni_edge.runtimes.coreml.interpreter import Interpreter

ENDINGS: Final = tuple(half + ending for half in ("", HALF) for ending in (QUANTIZED, PALETTIZED))


@dataclass(frozen=True)
class StoredWeight:
    """Ŵ in the model's layout, the factor of its input (None: there is none), and the bytes of all
    operands."""

    values: NDArray[np.float32]
    smoothing: NDArray[np.float32] | None
    bytes: int

    def meant(self) -> NDArray[np.float32]:
        """Ŵ with the smoothing undone."""
        return self.values if self.smoothing is None else self.values * self.smoothing


def package_weights(package: Path, decisions: Mapping[str, Decision]) -> dict[str, StoredWeight]:
    """The weights that `decisions` name, out of all of a component's packages. InputError: one of
    them is not compressed there."""
    found = dict[str, StoredWeight]()
    for part in chunks(package):
        found |= _one_package(part, decisions)
    for weight in decisions.keys() - found.keys():
        raise InputError(
            f"{package}: {weight} is listed as quantised, but the package holds it as it was"
        )
    return found


def _one_package(package: Path, decisions: Mapping[str, Decision]) -> dict[str, StoredWeight]:
    program = read_package(package)
    interpreter = Interpreter(program, lambda blob: read_blob(package, blob))
    operations = {
        name: operation for operation in program.operations for name, _ in operation.outputs
    }
    found = {}
    for weight, decision in decisions.items():
        name = next(
            (
                constant_name(weight) + end
                for end in ENDINGS
                if constant_name(weight) + end in interpreter.compressed
            ),
            None,
        )
        if name is not None:
            factor = _factor(operations, interpreter, name) if decision.smoothed else None
            nbytes = sum(
                _bytes(operations, value)
                for values in operations[name].inputs.values()
                for value in values
            )
            found[weight] = StoredWeight(interpreter.compressed[name], factor, nbytes)
    return found


def _factor(
    operations: Mapping[str, Operation], interpreter: Interpreter, weight: str
) -> NDArray[np.float32] | None:
    """The last constant that multiplies the input of a weight's only reader. Layers with one input
    may share it.

    None: nothing multiplies it, as the converter drops factors of 1.
    """
    reader = next(
        operation for operation in operations.values() if (weight,) in operation.inputs.values()
    )
    product = operations.get(str(reader.inputs["x"][0]))
    if product is None or product.type != "mul":
        return None
    operands = (str(values[0]) for values in product.inputs.values())
    return next(
        (found for name in operands if (found := interpreter.constant(name)) is not None), None
    )


def _bytes(operations: Mapping[str, Operation], value: Any) -> int:
    constant = operations[value].attributes["val"] if isinstance(value, str) else value
    bits = BITS.get(constant.dtype) or 8 * np.dtype(constant.dtype).itemsize
    return -(-math.prod(constant.shape) * bits // 8)
