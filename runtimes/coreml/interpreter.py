"""ML Programs evaluated in numpy: only the operators that the Core ML export writes.

It checks a package's numbers off the device. Values that a program holds in float16 are kept as
float32 rounded to float16, and sums run in float32. How a Neural Engine rounds within an operator
is not imitated.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from nextomni_edge.errors import InputError, one_line
from nextomni_edge.formats.mil import Blob, Constant, MilProgram, Operation, numpy_dtype
from nextomni_edge.runtimes.coreml.compression import COMPRESSED
from nextomni_edge.runtimes.coreml.operators import OPERATORS, Array, Value, half, held_as
from nextomni_edge.runtimes.coreml.sizes import MOST, TOGETHER, check_size

WRITE_STATE: Final = "write_state"


class Interpreter:
    """A program with its constants read. `blob` gives the numbers in the package's weights.

    InputError: the program uses an operator, or an option of one, that export does not write.
    """

    def __init__(self, program: MilProgram, blob: Callable[[Blob], Array]) -> None:
        self._constants: dict[str, Value] = {}
        self.compressed: dict[str, Array] = {}  # what compressed weights mean, by name
        self._steps: list[Operation] = []
        self.results = program.results
        self._states = {
            state.name: tuple(size for size, _ in state.bounds) for state in program.states
        }
        for operation in program.operations:
            with _told(operation.type):
                self._add(operation, blob)
        last = {
            value: index
            for index, step in enumerate(self._steps)
            for given in step.inputs.values()
            for value in given
            if isinstance(value, str)
        }
        used = last.keys() | set(self.results)
        self._constants = {name: value for name, value in self._constants.items() if name in used}
        self._held = sum(
            value.nbytes for value in self._constants.values() if isinstance(value, np.ndarray)
        )
        self._dropped: list[list[str]] = [[] for _ in self._steps]
        for name in last.keys() - set(self.results):
            self._dropped[last[name]].append(name)

    def _add(self, operation: Operation, blob: Callable[[Blob], Array]) -> None:
        if operation.type == "const":
            self._constants[operation.outputs[0][0]] = _read(operation.attributes["val"], blob)
        elif operation.type in COMPRESSED:
            self._decompress(operation, blob)
        elif operation.type == WRITE_STATE and operation.inputs.get("input", ())[:1] not in {
            (name,) for name in self._states
        }:
            raise InputError("the program writes a state that it does not declare")
        elif operation.type not in (*OPERATORS, WRITE_STATE):
            raise InputError(
                f"operator {operation.type[:80]!r} is not one that export writes:"
                f" {', '.join(sorted(OPERATORS))}"
            )
        else:
            self._steps.append(operation)

    def constant(self, name: str) -> Array | None:
        """A value that the program reads without computing it; None: it is no such value."""
        return self._constants.get(name)

    def state(self) -> dict[str, Array]:
        """The program's state, all zero; float16, the only dtype of Core ML's states."""
        return {name: np.zeros(shape, np.float16) for name, shape in self._states.items()}

    def run(
        self, inputs: Mapping[str, Array], state: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        """The results by name. `state` receives what the program writes to it. Each value is
        dropped after its last use."""
        kept = self.state() if state is None else state
        values: dict[str, Value] = {**inputs, **kept}
        most = MOST + 4 * (self._held + sum(array.nbytes for array in values.values()))
        for index, step in enumerate(self._steps):
            with _told(step.type):
                self._step(step, values, kept, most)
            if sum(np.asarray(value).nbytes for value in values.values()) > TOGETHER * most:
                raise InputError(f"more than {TOGETHER * most} bytes of values at once")
            for name in self._dropped[index]:
                if name not in kept:
                    values.pop(name, None)
        missing = set(self.results) - values.keys() - self._constants.keys()
        for name in sorted(missing):
            raise InputError(f"result {name[:80]!a} is not computed")
        return {
            name: values[name] if name in values else self._constants[name] for name in self.results
        }

    def _step(
        self, step: Operation, values: dict[str, Value], kept: dict[str, Array], most: int
    ) -> None:
        given = {key: self._given(key, names, values) for key, names in step.inputs.items()}
        if step.type == WRITE_STATE:
            (target,) = step.inputs["input"]
            assert isinstance(target, str)  # as the constructor saw
            values[target] = kept[target] = half(given["data"])
            return
        check_size(step.type, given, most)
        found = OPERATORS[step.type](**given)
        for (name, dtype), value in zip(
            step.outputs, found if isinstance(found, list) else [found], strict=True
        ):
            values[name] = held_as(np.asarray(value), dtype)

    def _decompress(self, operation: Operation, blob: Callable[[Blob], Array]) -> None:
        """A compressed weight is a constant, and so are its operands."""
        given = {
            key: (
                _read(values[0], blob)
                if isinstance(values[0], Constant)
                else self._constants[values[0]]
            )
            for key, values in operation.inputs.items()
        }
        (name, dtype), *_ = operation.outputs
        self._constants[name] = self.compressed[name] = held_as(
            COMPRESSED[operation.type](**given), dtype
        )

    def _given(
        self, key: str, names: tuple[str | Constant, ...], values: Mapping[str, Value]
    ) -> Value:
        found = [
            (
                _held(name)
                if isinstance(name, Constant)
                else values[name]
                if name in values
                else self._constants[name]
            )
            for name in names
        ]
        return found if key == "values" else found[0]


@contextlib.contextmanager
def _told(operator: str) -> Iterator[None]:
    """InputError: operands that are missing, unknown, or do not go together."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # numpy's own share no base but this
        raise InputError(
            f"operator {operator[:80]!a} cannot be computed ({one_line(str(error))})"
        ) from error


def _read(constant: Constant, blob: Callable[[Blob], Array]) -> Value:
    if not isinstance(constant.value, Blob):
        return _held(constant)
    stored = blob(constant.value)
    if stored.size != math.prod(constant.shape) or stored.dtype != np.dtype(
        numpy_dtype(constant.dtype)
    ):
        raise InputError(
            f"a constant of {stored.size} {stored.dtype}, declared as {constant.dtype}"
            f" {constant.shape}"
        )
    return held_as(np.asarray(stored), constant.dtype).reshape(constant.shape)


def _held(constant: Constant) -> Value:
    return (
        held_as(constant.value, constant.dtype)
        if isinstance(constant.value, np.ndarray)
        else constant.value
    )
