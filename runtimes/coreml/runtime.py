"""Core ML packages: through Apple's library on a Mac, elsewhere through an interpreter of the
reloaded program in numpy."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from nextomni_edge.bundle.coreml_interface import KEPT, PAST, Form, chunk_layers, limited
from nextomni_edge.bundle.coreml_package import WIRE_DTYPES, chunks, read_blob, read_package
from nextomni_edge.errors import InputError, MissingRuntimeError, NextOmniError, UsageError
from nextomni_edge.formats.mil import MilProgram
from nextomni_edge.graphs import without_states
from nextomni_edge.runtimes.base import Array, Runtime, Session
from nextomni_edge.runtimes.coreml.interpreter import Interpreter
from nextomni_edge.runtimes.state import Ids, State
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec, Wire

INTERPRETER: Final = "interpreter"
COMPUTE_UNITS: Final = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")


class Package(ABC):
    """One loaded package. It holds `layers` layers of the backbone, 0 of another component."""

    def __init__(self, program: MilProgram, layers: int) -> None:
        self.layers = layers
        self.state_shape = (
            tuple(size for size, _ in program.states[0].bounds) if program.states else ()
        )

    @abstractmethod
    def predict(self, given: dict[str, Array], state: Any = None) -> dict[str, Array]:
        """All outputs in the package's form. `state` comes from `new_state`, and is changed."""

    @abstractmethod
    def new_state(self) -> Any:
        """Room for one sequence's keys and values."""


class InterpretedPackage(Package):
    """The program itself, read back from the package."""

    def __init__(self, program: MilProgram, layers: int, file: Path) -> None:
        super().__init__(program, layers)
        self._interpreter = Interpreter(program, lambda blob: read_blob(file, blob))

    def predict(self, given: dict[str, Array], state: Any = None) -> dict[str, Array]:
        return self._interpreter.run(given, state)

    def new_state(self) -> Any:
        return self._interpreter.state()


class ApplePackage(Package):
    """Apple's library, on the requested compute units. The system chooses which of them runs an
    operator."""

    def __init__(self, program: MilProgram, layers: int, component: str, model: Any) -> None:
        super().__init__(program, layers)
        self._component, self._model = component, model

    def predict(self, given: dict[str, Array], state: Any = None) -> dict[str, Array]:
        try:
            return dict(
                self._model.predict(given)
                if state is None
                else self._model.predict(given, state=state)
            )
        except Exception as error:  # the library's exceptions share no base but Exception
            raise NextOmniError(f"{self._component}: Core ML failed ({error})") from error

    def new_state(self) -> Any:
        return self._model.make_state()


class CoreMlSession(Session):
    """A component in one package, or a backbone in several that run in sequence.

    It gives a program Core ML's inputs: int32 for int64, numbers for truth values, and a past that
    is never empty. Where shapes are enumerated, one sequence runs after another, padded to the
    smallest shape that holds it. Nothing attends to padding, and no row reads a padded row of
    another component, so padding changes nothing.
    """

    def __init__(self, spec: GraphSpec, provider: str, packages: list[Package], form: Form) -> None:
        super().__init__(limited(spec, form), provider)
        self._packages, self._form = packages, form

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        given = {
            tensor.name: inputs[tensor.name].astype(WIRE_DTYPES[tensor.dtype], copy=False)
            for tensor in self.spec.inputs
        }
        batch = len(given[self.spec.inputs[0].name])
        each = (
            [given]
            if not self._form.single
            else [self._sequence(given, place) for place in range(batch)]
        )
        found = [self._fitted(sequence) for sequence in each]
        return {
            tensor.name: (
                _joined([part[tensor.name] for part in found], _axis(tensor, "batch")).astype(
                    tensor.dtype, copy=False
                )
            )
            for tensor in self.spec.outputs
            if tensor.name in outputs
        }

    def _sequence(self, given: Mapping[str, Array], place: int) -> dict[str, Array]:
        """One sequence's inputs, batch 1."""
        return {
            tensor.name: given[tensor.name].take([place], _axis(tensor, "batch"))
            for tensor in self.spec.inputs
        }

    def _fitted(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """`_predict` of inputs whose rows and past are padded at the end to sizes that the packages
        take."""
        pairs = (
            pair
            for tensor in self.spec.inputs
            for pair in zip(tensor.dims, given[tensor.name].shape, strict=True)
        )
        sizes = {dim.name: size for dim, size in pairs if isinstance(dim, Dim)}
        rows, past = sizes.get("rows", 0), sizes.get("past", 0)
        room = {"rows": self._rows(rows), "past": self._columns(past)}
        padded = {
            tensor.name: _padded(tensor, given[tensor.name], room) for tensor in self.spec.inputs
        }
        if "past" in sizes:
            mask = given[Wire.ATTENTION_MASK]
            parts = (mask[:, :past], room["past"]), (mask[:, past:], room["rows"])
            padded[Wire.ATTENTION_MASK] = np.concatenate(
                [_longer(part, 1, size) for part, size in parts], axis=1
            )
        found = self._predict(padded)
        return {tensor.name: _cut(tensor, found[tensor.name], rows) for tensor in self.spec.outputs}

    def _rows(self, rows: int) -> int:
        """The smallest count of rows that holds this many."""
        return next((count for count in self._form.rows if count >= rows), rows)

    def _columns(self, past: int) -> int:
        """The smallest number of past columns that holds this many."""
        return max(past, 1) if past <= 1 or not self._form.rows else self._positions

    @property
    def _positions(self) -> int:
        """The columns of the longest past."""
        return (
            self._packages[0].state_shape[3] if self._form.keeps else self.spec.dims()["past"].max
        )

    def _predict(self, given: dict[str, Array]) -> dict[str, Array]:
        """The hidden states of one package go into the next, with the past of its own layers."""
        if len(self._packages) == 1:
            return self._packages[0].predict(given)
        found: dict[str, list[Array]] = {name: [] for name in KEPT}
        states, first = given[Wire.EMBEDDINGS], 0
        for package in self._packages:
            own = slice(first, first := first + package.layers)
            computed = package.predict(
                given | {name: given[name][own] for name in PAST} | {Wire.EMBEDDINGS: states}
            )
            states = computed[Wire.HIDDEN]
            for name, parts in found.items():
                parts.append(computed[name])
        return {Wire.HIDDEN: states} | {
            name: np.concatenate(parts) for name, parts in found.items()
        }


class CoreMlState(State):
    """Each package's state of each sequence: room for all positions of the model, however many are
    asked for."""

    def __init__(self, packages: list[Package], batch: int, columns: int) -> None:
        super().__init__(batch, columns)
        self.kept = [[package.new_state() for package in packages] for _ in range(batch)]
        self._nbytes = batch * sum(
            len(KEPT) * math.prod(package.state_shape) * np.dtype(np.float16).itemsize
            for package in packages
        )

    @property
    def nbytes(self) -> int:
        return self._nbytes


class KeepingSession(CoreMlSession):
    """A backbone that keeps keys and values inside, in float16. A state holds one sequence, so
    sequences run one after another."""

    def __init__(self, spec: GraphSpec, provider: str, packages: list[Package], form: Form) -> None:
        super().__init__(without_states(spec), provider, packages, form)

    def state(self, batch: int, columns: int) -> CoreMlState:
        """UsageError: more columns than a package keeps."""
        if columns > self._positions:
            raise UsageError(
                f"{self.spec.name}: a state of {columns} positions, its packages keep"
                f" {self._positions}"
            )
        return CoreMlState(self._packages, batch, columns)

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        """Each sequence only sees itself, and nothing reads what it leaves in the state."""
        batch, rows = inputs[Wire.ATTENTION_MASK].shape
        kept = [package.new_state() for package in self._packages]
        nothing, columns = np.zeros((batch, 0), np.bool_), np.tile(np.arange(rows), (batch, 1))
        return {Wire.HIDDEN: self._each(inputs, nothing, columns, [kept] * batch)}

    def _step(self, inputs: Mapping[str, Array], state: Any, sequences: Ids) -> dict[str, Array]:
        positions = inputs[Wire.POSITIONS]
        seen = state.seen(sequences, positions, inputs[Wire.ATTENTION_MASK])
        return {
            Wire.HIDDEN: self._each(
                inputs, seen, positions, [state.kept[sequence] for sequence in sequences]
            )
        }

    def _each(
        self, inputs: Mapping[str, Array], seen: Array, columns: Array, kept: list[list[Any]]
    ) -> Array:
        """Hidden states (b,n,H), 0 at padding. The rows see `seen` (b,columns) of their sequence's
        `kept`, and are stored at `columns` (b,n)."""
        hidden = np.zeros_like(inputs[Wire.EMBEDDINGS])
        for place, real in enumerate(inputs[Wire.ATTENTION_MASK]):
            if real.any():
                embeddings, positions = (
                    inputs[name][place, real] for name in (Wire.EMBEDDINGS, Wire.POSITIONS)
                )
                own = seen[place], kept[place]
                hidden[place, real] = self._sequence_rows(
                    embeddings, positions, columns[place, real], *own
                )
        return hidden

    def _sequence_rows(
        self, embeddings: Array, positions: Array, columns: Array, seen: Array, kept: list[Any]
    ) -> Array:
        """(n,H), (n,), (n,), (columns,) → hidden (n,H) of one sequence."""
        # no row reads what is kept behind
        count, last = len(embeddings), int(np.flatnonzero(seen).max(initial=-1)) + 1
        rows, past = self._rows(count), self._columns(last)
        mask = np.concatenate([_longer(seen[:last], 0, past), _longer(np.ones(count), 0, rows)])
        held = np.arange(self._positions, dtype=np.int32)
        held[columns] = self._positions + np.arange(count)
        given: dict[str, Array] = {
            Wire.EMBEDDINGS: _longer(embeddings, 0, rows)[None],
            Wire.POSITIONS: _longer(positions.astype(np.int32), 0, rows)[None],
            Wire.ATTENTION_MASK: mask.astype(np.float32)[None],
            Wire.HELD: held,
        }
        for package, state in zip(self._packages, kept, strict=True):
            given[Wire.EMBEDDINGS] = package.predict(given, state)[Wire.HIDDEN]
        return given[Wire.EMBEDDINGS][0, :count]


class CoreMlRuntime(Runtime):
    """Providers are the compute units of a Mac, and everywhere the interpreter, which needs no
    library."""

    NAME: ClassVar = "Core ML"

    def providers(self) -> list[str]:
        return [*(COMPUTE_UNITS if sys.platform == "darwin" else ()), INTERPRETER]

    def default_provider(self) -> str:
        return self.providers()[-2 if sys.platform == "darwin" else -1]

    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        units = self.choose_provider(component, provider)
        if not file.is_dir():
            raise InputError(f"{component}: {file} is no Core ML package")
        try:
            parts = chunks(file)
            programs = [read_package(part) for part in parts]
            layers = [chunk_layers(program) for program in programs] if len(parts) > 1 else [0]
            packages = [
                self._package(component, *each, units)
                for each in zip(parts, programs, layers, strict=True)
            ]
        except InputError as error:
            raise InputError(f"{component}: {error}") from error
        form = Form.of(programs[0])
        return (KeepingSession if form.keeps else CoreMlSession)(spec, units, packages, form)

    def _package(
        self, component: str, file: Path, program: MilProgram, layers: int, units: str
    ) -> Package:
        if units == INTERPRETER:
            return InterpretedPackage(program, layers, file)
        return ApplePackage(program, layers, component, _apple_model(file, units))


def _apple_model(package: Path, units: str) -> Any:
    try:
        import coremltools  # here and not above: the interpreter does without it
    except ImportError as error:
        raise MissingRuntimeError(
            f"{error}; install it with: pip install 'nextomni-edge[coreml]'"
        ) from error
    try:
        return coremltools.models.MLModel(
            str(package), compute_units=coremltools.ComputeUnit[units]
        )
    except Exception as error:  # the library's exceptions share no base but Exception
        raise InputError(f"Core ML cannot load {package} ({error})") from error


def _axis(tensor: TensorSpec, name: str) -> int:
    return [dim.name if isinstance(dim, Dim) else "" for dim in tensor.dims].index(name)


def _joined(parts: list[Array], axis: int) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


def _longer(array: Array, axis: int, size: int) -> Array:
    """Append zeros along an axis."""
    if array.shape[axis] == size:
        return array
    return np.pad(
        array,
        [(0, size - array.shape[axis]) if each == axis else (0, 0) for each in range(array.ndim)],
    )


def _padded(tensor: TensorSpec, array: Array, room: Mapping[str, int]) -> Array:
    for axis, dim in enumerate(tensor.dims):
        if isinstance(dim, Dim) and dim.name in room:
            array = _longer(array, axis, room[dim.name])
    return array


def _cut(tensor: TensorSpec, array: Array, rows: int) -> Array:
    """An output without its padded rows."""
    if not any(isinstance(dim, Dim) and dim.name == "rows" for dim in tensor.dims):
        return array
    cut = (slice(None),) * _axis(tensor, "rows") + (slice(rows),)
    return array[cut]
