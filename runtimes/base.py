"""What every runtime promises: a session per component with a guarded door, and a registry that
imports no library early."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np

from nextomni_edge.bundle.component_format import FORMATS
from nextomni_edge.errors import GateError, InputError, MissingRuntimeError, UsageError
from nextomni_edge.graphs import without_states
from nextomni_edge.runtimes.state import Array as Array  # every runtime has it from here
from nextomni_edge.runtimes.state import HostState, Ids, State
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec, Wire
from nextomni_edge.threads import threads

Compute = Literal["float32", "bfloat16", "float16"]
DEVICES: Final = ("cuda", "cpu")  # the names of providers that mean the same of every runtime

# Adding a runtime is its file and one line here: name → (module, class, the extra that installs its
# library).
RUNTIMES: Final = {
    "coreml": ("nextomni_edge.runtimes.coreml.runtime", "CoreMlRuntime", "coreml"),
    "llamacpp": ("nextomni_edge.runtimes.llamacpp", "LlamaCppRuntime", "gguf"),
    "onnx": ("nextomni_edge.runtimes.onnx.runtime", "OnnxRuntime", "cpu"),
    "openvino": ("nextomni_edge.runtimes.openvino", "OpenVinoRuntime", "openvino"),
    "tensorrt": ("nextomni_edge.runtimes.tensorrt.runtime", "TensorRtRuntime", "tensorrt"),
    "torch": ("nextomni_edge.runtimes.torch", "TorchRuntime", "train"),
}
# A component's format → the runtimes that read it, the first where none is named.
READERS: Final[Mapping[str, tuple[str, ...]]] = {
    name: record.runtimes for name, record in FORMATS.items()
}


@dataclass(frozen=True)
class Execution:
    """How to run components. `runtime` None: the one of the bundle's format. `provider`: its name,
    or one of DEVICES; None takes the GPU where the runtime computes on it, else its own choice.

    compute: the arithmetic; everything but float32 approximates. cache: a folder for compiled
    models, where the runtime compiles. allow_fallback: where the provider is missing, the processor
    may replace it; otherwise that is an error. threads: of the processor; 0 is what
    `nextomni_edge.threads.threads` says.
    """

    runtime: str | None = None
    provider: str | None = None
    compute: Compute = "float32"
    cache: Path | None = None
    allow_fallback: bool = False
    threads: int = 0

    def of_format(self, name: str) -> Execution:
        """How to run a component of this format. Where the requested runtime reads the format, it
        runs as requested. Otherwise the format's own runtime takes it, without the options of the
        request."""
        readers = READERS[name]
        if self.runtime in readers:
            return self
        if self.runtime is None:
            return replace(self, runtime=readers[0])
        return Execution(readers[0], allow_fallback=self.allow_fallback, threads=self.threads)

    def check_reads(self, formats: Collection[str]) -> None:
        """UsageError: the requested runtime does not exist, or reads none of a bundle's formats."""
        if self.runtime is not None and not any(self.runtime in READERS[name] for name in formats):
            _check_known(self.runtime)
            able = sorted({reader for name in formats for reader in READERS[name]})
            raise UsageError(
                f"runtime {self.runtime!r} reads no component of this bundle"
                f" ({', '.join(sorted(formats))}): expected {' or '.join(able)}"
            )


class NonFiniteError(GateError):
    """A component gave NaN or infinity. `index` is the first such place of its output."""

    def __init__(self, line: str, index: tuple[int, ...] = ()) -> None:
        super().__init__(line)
        self.index = index


class Session(ABC):
    """One loaded component. `provider` is where it actually runs."""

    def __init__(self, spec: GraphSpec, provider: str) -> None:
        self.spec, self.provider = spec, provider

    def run(
        self, inputs: Mapping[str, Array], outputs: Collection[str] | None = None
    ) -> dict[str, Array]:
        """Outputs by name: all of them, or those asked for.

        UsageError: inputs differ from the spec in names, dtypes or shapes. InputError: the
        component's outputs differ. NonFiniteError: a float output holds NaN or infinity; component
        and place are named.
        """
        wanted = [
            tensor for tensor in self.spec.outputs if outputs is None or tensor.name in outputs
        ]
        bound = self._checked_inputs(self.spec.inputs, inputs)
        return self._checked_outputs(
            wanted, self._run(inputs, [tensor.name for tensor in wanted]), bound
        )

    def state(self, batch: int, columns: int) -> State:
        """Room for `step` to keep keys and values of this many sequences and positions. UsageError:
        the component keeps nothing."""
        return HostState(self.spec, batch, columns)

    def step(
        self, inputs: Mapping[str, Array], state: State, sequences: Ids | None = None
    ) -> dict[str, Array]:
        """`run` of rows that see one another and the kept rows of their sequences. The rows are
        then kept too.

        inputs: those of `run`, without what the state holds. Rows that the mask (b,rows) leaves out
        come last. A row replaces what was kept at its position, and no row of this call sees the
        old entry. sequences (b,): the sequence of each row; None: all, in order. UsageError: as
        `run`; positions without room in the state, or rows that it does not support.
        """
        spec = without_states(self.spec)
        bound = self._checked_inputs(spec.inputs, inputs)
        chosen = np.arange(len(state.filled)) if sequences is None else sequences
        positions, real = inputs[Wire.POSITIONS], inputs[Wire.ATTENTION_MASK]
        if len(chosen) != len(positions):
            raise UsageError(
                f"{self.spec.name}: rows of {len(positions)} sequences, expected {len(chosen)}"
            )
        columns = state.filled.shape[1]
        if (outside := positions[real & ((positions < 0) | (positions >= columns))]).size:
            raise UsageError(
                f"{self.spec.name}: position {outside[0]}, the state has room for {columns}"
            )
        found = self._checked_outputs(spec.outputs, self._step(inputs, state, chosen), bound)
        state.fill(chosen, positions, real)
        return found

    def _checked_inputs(
        self, specs: Collection[TensorSpec], inputs: Mapping[str, Array]
    ) -> dict[str, int]:
        bound: dict[str, int] = {}
        if wrong := _mismatch(specs, inputs, bound):
            raise UsageError(f"{self.spec.name}: input {wrong}")
        return bound

    def _checked_outputs(
        self, wanted: Collection[TensorSpec], found: dict[str, Array], bound: dict[str, int]
    ) -> dict[str, Array]:
        if wrong := _mismatch(wanted, found, bound):
            raise InputError(
                f"{self.spec.name}: output {wrong}; the file is not this model's {self.spec.name}"
            )
        for tensor in wanted:
            if tensor.dtype.startswith("float") and not np.isfinite(found[tensor.name]).all():
                index = tuple(
                    int(place) for place in np.argwhere(~np.isfinite(found[tensor.name]))[0]
                )
                raise NonFiniteError(
                    f"{self.spec.name}: output {_value_at(tensor, found[tensor.name], index)}",
                    index,
                )
        return found

    @abstractmethod
    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        """The outputs of the given names, for inputs already checked."""

    def _step(self, inputs: Mapping[str, Array], state: Any, sequences: Ids) -> dict[str, Array]:
        """The outputs without the states, for checked inputs and a state that `state` made."""
        positions, real = inputs[Wire.POSITIONS], inputs[Wire.ATTENTION_MASK]
        seen = state.seen(sequences, positions, real)
        # no row reads what is kept behind
        columns = int(np.flatnonzero(seen.any(axis=0)).max(initial=-1)) + 1
        mask = np.concatenate([seen[:, :columns], real], axis=1)
        found = self.run({**inputs, **state.past(sequences, columns), Wire.ATTENTION_MASK: mask})
        state.put(sequences, positions, real, found)
        return {name: array for name, array in found.items() if name not in state.outputs.values()}


class Runtime(ABC):
    """Loads components of one file format."""

    NAME: ClassVar[str]  # of the library, as its makers write it
    COMPUTES: ClassVar[tuple[Compute, ...]] = ("float32",)
    COMPILES: ClassVar = False  # whether there is anything to keep in a cache
    # its provider of each of DEVICES that it can run on
    PLACES: ClassVar[Mapping[str, str]] = {}
    GPU_EXTRAS: ClassVar = ""  # what installs its provider "cuda"
    execution = Execution()

    def configure(self, execution: Execution) -> None:
        """The execution that `load` follows. UsageError: this runtime does not support the
        request."""
        if execution.compute not in self.COMPUTES:
            raise UsageError(
                f"{self.NAME} computes in {' or '.join(self.COMPUTES)} here; {execution.compute}"
                " was asked for"
            )
        if execution.cache and not self.COMPILES:
            raise UsageError(
                f"{self.NAME} compiles nothing that could be kept in {execution.cache}; leave"
                " --cache out"
            )
        self.execution = execution

    @property
    def threads(self) -> int:
        """How many threads of the processor compute; 0 is the library's own choice."""
        return self.execution.threads or threads()

    def choose_provider(self, component: str, wanted: str | None) -> str:
        """The provider to run on. MissingRuntimeError: it is missing, and nothing may replace
        it. UsageError: the runtime cannot run on this one of DEVICES."""
        if wanted is None:
            return self.auto_provider()
        if wanted in DEVICES and wanted not in self.PLACES:
            places = " or ".join(self.PLACES) or "what --provider names"
            raise UsageError(f"{component}: {self.NAME} runs on {places}, not on {wanted}")
        found, default = self.PLACES.get(wanted, wanted), self.default_provider()
        if found in self.providers():
            return found
        if self.execution.allow_fallback:
            return default
        here = ", ".join(self.providers())
        install = f" ({self.GPU_EXTRAS})" if found == self.PLACES.get("cuda") else ""
        raise MissingRuntimeError(
            f"{component}: provider {found!r} is not in this {self.NAME}{install}; it has {here};"
            f" --allow-fallback runs on {default}"
        )

    def trouble(self, provider: str) -> str | None:
        """Why a provider of this library does not compute here; None: it does, or there is nothing
        to try."""
        return None

    def auto_provider(self) -> str:
        """The GPU's provider where it computes, else the default one."""
        gpu = self.PLACES.get("cuda")
        works = gpu in self.providers() and self.trouble(gpu or "") is None
        return gpu if gpu and works else self.default_provider()

    @abstractmethod
    def providers(self) -> list[str]:
        """The providers on which the installed library can run."""

    def default_provider(self) -> str:
        """The provider that runs where none is named and no GPU computes, and that may replace
        another one."""
        return self.providers()[0]

    @abstractmethod
    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        """MissingRuntimeError: `provider` is not the one that would run. InputError: the file is
        not the component."""


def runtime(name: str, execution: Execution | None = None) -> Runtime:
    """The runtime of a name. Its library is imported now.

    UsageError: unknown, or it does not support `execution`. MissingRuntimeError: not installed.
    """
    _check_known(name)
    module, cls, extra = RUNTIMES[name]
    try:
        found: Runtime = getattr(importlib.import_module(module), cls)()
    except ImportError as error:
        raise MissingRuntimeError(
            f"runtime {name}: {error}; install it with: pip install 'nextomni-edge[{extra}]'"
        ) from error
    if execution is not None:
        found.configure(execution)
    return found


def _check_known(name: str) -> None:
    if name not in RUNTIMES:
        raise UsageError(f"runtime {name!r}: expected one of {', '.join(RUNTIMES)}")


def _mismatch(
    specs: Collection[TensorSpec], tensors: Mapping[str, Array], bound: dict[str, int]
) -> str | None:
    """How the tensors differ from the specs, or None."""
    for name in sorted(tensors.keys() ^ {spec.name for spec in specs}):
        return f"{name} is {'unknown' if name in tensors else 'missing'}"
    reasons = (
        spec.mismatch(tensors[spec.name].dtype.name, tensors[spec.name].shape, bound)
        for spec in specs
    )
    return next((reason for reason in reasons if reason), None)


def _value_at(spec: TensorSpec, array: Array, index: tuple[int, ...]) -> str:
    """Such as `logits is nan at batch 0, rows 17, axis 2: 5`."""
    axes = [
        f"{dim.name} {i}" if isinstance(dim, Dim) else f"axis {axis}: {i}"
        for axis, (dim, i) in enumerate(zip(spec.dims, index, strict=True))
    ]
    return f"{spec.name} is {array[index]} at {', '.join(axes)}"
