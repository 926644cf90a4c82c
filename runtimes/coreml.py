"""Core ML packages: on a Mac through Apple's library, elsewhere by an interpreter of the reloaded program in numpy."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from nextomni_edge.bundle.coreml_package import WIRE_DTYPES, chunk_layers, chunk_spec, chunks, read_blob, read_package
from nextomni_edge.errors import InputError, MissingRuntimeError, NextOmniError
from nextomni_edge.runtimes.base import Array, Runtime, Session
from nextomni_edge.runtimes.mil import Interpreter
from nextomni_edge.spec import GraphSpec, Wire

INTERPRETER: Final = "interpreter"
COMPUTE_UNITS: Final = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")


class CoreMlSession(Session):
    """Gives a program what Core ML has: int32 for int64, numbers for truth values, and a past that is never empty."""

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        given = {tensor.name: inputs[tensor.name].astype(WIRE_DTYPES[tensor.dtype], copy=False) for tensor in self.spec.inputs}
        found = self.predict(_with_a_past(given))
        dtypes = {tensor.name: tensor.dtype for tensor in self.spec.outputs}
        return {name: found[name].astype(dtypes[name], copy=False) for name in outputs}

    @abstractmethod
    def predict(self, given: dict[str, Array]) -> dict[str, Array]:
        """All outputs, as the package has them."""


class InterpreterSession(CoreMlSession):
    """The program itself, read back from the package."""

    def __init__(self, spec: GraphSpec, interpreter: Interpreter) -> None:
        super().__init__(spec, INTERPRETER)
        self._interpreter = interpreter

    def predict(self, given: dict[str, Array]) -> dict[str, Array]:
        return self._interpreter.run(given)


class AppleSession(CoreMlSession):
    """Apple's library, on the compute units that were asked for; which of them runs an operator is the system's choice."""

    def __init__(self, spec: GraphSpec, model: Any, units: str) -> None:
        super().__init__(spec, units)
        self._model = model

    def predict(self, given: dict[str, Array]) -> dict[str, Array]:
        try:
            return dict(self._model.predict(given))
        except Exception as error:  # the library's exceptions share no base but Exception
            raise NextOmniError(f"{self.spec.name}: Core ML failed ({error})") from error


class ChunkedSession(CoreMlSession):
    """A backbone in several packages: each computes its layers of what the one before gave."""

    def __init__(self, spec: GraphSpec, chunks: list[CoreMlSession]) -> None:
        super().__init__(spec, chunks[0].provider)
        self._chunks = chunks

    def predict(self, given: dict[str, Array]) -> dict[str, Array]:
        found: dict[str, list[Array]] = {Wire.KEYS: [], Wire.VALUES: []}
        states, first = given[Wire.EMBEDDINGS], 0
        for chunk in self._chunks:
            own = slice(first, first := first + _layers(chunk.spec))
            past = {name: given[name][own] for name in (Wire.PAST_KEYS, Wire.PAST_VALUES)}
            computed = chunk.predict(given | past | {Wire.EMBEDDINGS: states})
            states = computed[Wire.HIDDEN]
            for name, parts in found.items():
                parts.append(computed[name])
        return {Wire.HIDDEN: states} | {name: np.concatenate(parts) for name, parts in found.items()}


def _layers(spec: GraphSpec) -> int:
    (layers,) = {tensor.dims[0] for tensor in spec.inputs if tensor.name == Wire.PAST_KEYS}
    assert isinstance(layers, int)  # graphs.py has no free number of layers
    return layers


class CoreMlRuntime(Runtime):
    """Providers are the compute units of a Mac, and everywhere the interpreter, which needs no library."""

    NAME: ClassVar = "Core ML"

    def providers(self) -> list[str]:
        return [*(COMPUTE_UNITS if sys.platform == "darwin" else ()), INTERPRETER]

    def load(self, component: str, file: Path, spec: GraphSpec, provider: str | None = None) -> Session:
        units = self.choose_provider(component, provider, self.providers()[-2 if sys.platform == "darwin" else -1])
        if not file.is_dir():
            raise InputError(f"{component}: {file} is no Core ML package")
        parts = chunks(file)
        if len(parts) == 1:
            return self._load_one(component, file, spec, units)
        specs = [chunk_spec(spec, chunk_layers(part, read_package(part))) for part in parts]
        pairs = zip(parts, specs, strict=True)
        return ChunkedSession(spec, [self._load_one(component, part, own, units) for part, own in pairs])

    def _load_one(self, component: str, file: Path, spec: GraphSpec, units: str) -> CoreMlSession:
        try:
            if units == INTERPRETER:
                return InterpreterSession(spec, Interpreter(read_package(file), lambda blob: read_blob(file, blob)))
        except InputError as error:
            raise InputError(f"{component}: {error}") from error
        return AppleSession(spec, _apple_model(component, file, units), units)


def _apple_model(component: str, package: Path, units: str) -> Any:
    try:
        import coremltools  # here and not above: the interpreter does without it
    except ImportError as error:
        raise MissingRuntimeError(f"{component}: {error}; install it with: pip install 'nextomni-edge[coreml]'") from error
    try:
        return coremltools.models.MLModel(str(package), compute_units=coremltools.ComputeUnit[units])
    except Exception as error:  # the library's exceptions share no base but Exception
        raise InputError(f"{component}: Core ML cannot load {package} ({error})") from error


def _with_a_past(given: dict[str, Array]) -> dict[str, Array]:
    """Core ML has no size 0: one past position that nothing attends to stands for none."""
    if Wire.PAST_KEYS not in given or given[Wire.PAST_KEYS].shape[3]:
        return given
    layers, batch, heads, _, head_dim = given[Wire.PAST_KEYS].shape
    nothing, mask = np.zeros((layers, batch, heads, 1, head_dim), np.float32), given[Wire.ATTENTION_MASK]
    unattended = np.concatenate([np.zeros((batch, 1), mask.dtype), mask], axis=1)
    return given | {Wire.PAST_KEYS: nothing, Wire.PAST_VALUES: nothing, Wire.ATTENTION_MASK: unattended}
