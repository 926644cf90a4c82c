"""ONNX Runtime."""

from __future__ import annotations

import contextlib
import functools
import io
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import onnxruntime
from onnxruntime import OrtValue

from nextomni_edge.errors import InputError, MissingRuntimeError, NextOmniError
from nextomni_edge.formats.onnx_write import one_node
from nextomni_edge.runtimes.base import Array, Runtime, Session
from nextomni_edge.runtimes.machine import products_saturate
from nextomni_edge.runtimes.onnx.packed import packed_session
from nextomni_edge.runtimes.onnx.state import BoundState
from nextomni_edge.runtimes.state import Ids, whole_or_none
from nextomni_edge.spec import GraphSpec, Wire

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}

# For a process that imported the library before this package could set its variable.
onnxruntime.disable_telemetry_events()

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
# Providers whose tensors lie in a memory of their own, by ONNX Runtime's name of it.
MEMORY: Final = {
    CUDA: "cuda",
    "TensorrtExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}
# By default CUDA rounds products to TF32; parity is in float32.
PROVIDER_OPTIONS: Final = {CUDA: {"use_tf32": "0"}}
TRIED: Final = 64  # rows and columns of the product that shows whether a provider computes


class OnnxSession(Session):
    """`library_session` runs the graph. ONNX Runtime falls back to the CPU silently, so the
    provider is the one that it reports."""

    def __init__(self, spec: GraphSpec, library_session: onnxruntime.InferenceSession) -> None:
        super().__init__(spec, library_session.get_providers()[0])
        self._session = library_session

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        with self._naming():
            return dict(zip(outputs, self._session.run(outputs, dict(inputs)), strict=True))

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Name the component in a failure of the library."""
        try:
            yield
        except NextOmniError:
            raise
        except Exception as error:  # the library's exceptions share no base but Exception
            raise NextOmniError(f"{self.spec.name}: ONNX Runtime failed ({error})") from error


class BoundSession(OnnxSession):
    """Keeps its inputs and outputs in the provider's own memory.

    A call with the shapes of the call before uses the same buffers, so no step of a loop allocates
    there. Each thread has its own buffers. Keys and values that a `step` keeps never leave that
    memory.
    """

    def __init__(
        self, spec: GraphSpec, library_session: onnxruntime.InferenceSession, memory: str
    ) -> None:
        super().__init__(spec, library_session)
        self._memory, self._mine = memory, threading.local()

    def state(self, batch: int, columns: int) -> BoundState:
        with self._naming():
            return BoundState(self.spec, self._memory, self.provider, batch, columns)

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        with self._naming():
            self._bound(inputs, {}, outputs)
            return dict(zip(outputs, self._mine.binding.copy_outputs_to_cpu(), strict=True))

    def _step(
        self, inputs: Mapping[str, Array], state: BoundState, sequences: Ids
    ) -> dict[str, Array]:
        """Every step reads all columns of the state, except one that sees none of them."""
        positions, real = inputs[Wire.POSITIONS], inputs[Wire.ATTENTION_MASK]
        given, sees = whole_or_none(self.spec, inputs, state.seen(sequences, positions, real))
        outputs = [tensor.name for tensor in self.spec.outputs]
        with self._naming():
            values = self._bound(given, state.past(sequences) if sees else {}, outputs)
            found = dict(zip(outputs, values, strict=True))
            state.put(
                {name: found.pop(own) for name, own in self.spec.states}, sequences, positions, real
            )
            return {name: value.numpy() for name, value in found.items()}

    def _bound(
        self, inputs: Mapping[str, Array], kept: Mapping[str, OrtValue], outputs: list[str]
    ) -> list[OrtValue]:
        """A call. `kept` are inputs in the provider's memory. The outputs are there too, until the
        next call."""
        places = {name: (value.data_ptr(), value.shape()) for name, value in kept.items()}
        wanted = ({name: array.shape for name, array in inputs.items()}, places, outputs)
        if getattr(self._mine, "bound", None) != wanted:
            self._mine.bound = None  # until it is, as that may fail
            self._bind(inputs, kept, outputs)
            self._mine.bound = wanted
        for name, array in inputs.items():
            if array.size:
                self._mine.inputs[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(self._mine.binding)
        found: list[OrtValue] = self._mine.binding.get_outputs()
        return found

    def _bind(
        self, inputs: Mapping[str, Array], kept: Mapping[str, OrtValue], outputs: list[str]
    ) -> None:
        """Buffers for inputs of these shapes. The first run makes the outputs' buffers."""
        create, binding = OrtValue.ortvalue_from_shape_and_type, self._session.io_binding()
        held = {
            name: create(array.shape, array.dtype.type, self._memory)
            for name, array in inputs.items()
        }
        for name, buffer in {**held, **kept}.items():
            binding.bind_ortvalue_input(name, buffer)
        for name in outputs:
            binding.bind_output(name, self._memory)
        self._mine.inputs, self._mine.binding = held, binding


class OnnxRuntime(Runtime):
    """Runs ONNX graphs on ONNX Runtime's execution providers. With a cache, the processor maps
    weights that were packed once (packed.py)."""

    NAME: ClassVar = "ONNX Runtime"
    COMPILES: ClassVar = True
    PLACES: ClassVar = {"cuda": CUDA, "cpu": CPU}
    GPU_EXTRAS: ClassVar = (
        "in place of onnxruntime install 'nextomni-edge[gpu-cu13]', or [gpu-cu12] for a driver of"
        " CUDA 12"
    )

    def providers(self) -> list[str]:
        return list(onnxruntime.get_available_providers())

    def default_provider(self) -> str:
        return CPU

    def trouble(self, provider: str) -> str | None:
        """A product on it fails, is wrong, or runs elsewhere: ONNX Runtime falls back in silence
        where CUDA's own libraries are missing."""
        return _trouble(provider)

    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        provider = self.choose_provider(component, provider)
        if provider == CUDA:
            _load_cuda()

        def create(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
            return _create(component, path, options, provider)

        if self.execution.cache is not None and provider == CPU:
            session = packed_session(self.execution.cache, component, file, self._options, create)
        else:
            session = create(file, self._options())
        found = session.get_providers()[0]
        if found != provider and not self.execution.allow_fallback:
            raise MissingRuntimeError(
                f"{component}: provider {provider} was asked for, but {found} would run"
                f"{f' ({self.GPU_EXTRAS})' if provider == CUDA else ''}; --allow-fallback lets it"
            )
        _check_interface(component, file, spec, session)
        return (
            BoundSession(spec, session, MEMORY[found])
            if found in MEMORY
            else OnnxSession(spec, session)
        )

    def _options(self) -> onnxruntime.SessionOptions:
        """Options of a session, before what a packed copy adds."""
        options = onnxruntime.SessionOptions()
        # Prepacking stays on: it copies a memory-mapped weight and lets its pages go, while without
        # it MatMulNBits widens the whole weight to float32 in every call (12 times as slow at 32
        # rows of a 3584 × 75776 weight).
        options.intra_op_num_threads = self.threads
        # Where sums saturate, a component is off by up to 0.29 of its scale. The library then only
        # multiplies uint8. It copies the weights for that, also with VNNI, and is slower (docs/
        # quality.md), so the option is only set where it is needed.
        if products_saturate():
            options.add_session_config_entry("session.x64quantprecision", "1")
        # warnings about what the optimiser could not fold mean nothing to a user
        options.log_severity_level = 3
        return options


def _create(
    component: str, file: Path, options: onnxruntime.SessionOptions, provider: str
) -> onnxruntime.InferenceSession:
    """The library's session. InputError: it refuses the file. MissingRuntimeError: this version
    lacks an operator."""
    providers = [(provider, PROVIDER_OPTIONS.get(provider, {}))]
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # the library's exceptions share no base but Exception
        if "NOT_IMPLEMENTED" in str(error):
            raise MissingRuntimeError(
                f"{component}: ONNX Runtime {onnxruntime.__version__} lacks an operator of"
                f" {file} ({error}); 1.32 or newer has it and needs Python 3.11, or take"
                " --runtime openvino"
            ) from error
        raise InputError(f"{component}: ONNX Runtime cannot load {file} ({error})") from error


@functools.cache
def _load_cuda() -> None:
    """CUDA's and cuDNN's libraries out of the packages that the extras gpu-cu12 and gpu-cu13
    install; the library prints what it does not find."""
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


@functools.cache
def _trouble(provider: str) -> str | None:
    """Why a product of matrices does not come out right on a provider."""
    rng, shape = np.random.default_rng(0), (TRIED, TRIED)
    x, w = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    graph = one_node("MatMul", {"x": ("float32", shape)}, ("y", ("float32", shape)), {"w": w})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if provider == CUDA:
        _load_cuda()
    try:
        session = onnxruntime.InferenceSession(
            graph, options, providers=[(provider, PROVIDER_OPTIONS.get(provider, {}))]
        )
        if (found := session.get_providers()[0]) != provider:
            return f"{found} would run"
        off = float(np.abs(session.run(None, {"x": x})[0] - x @ w).max())
    except Exception as error:  # the library's exceptions share no base but Exception
        return " ".join(str(error).split())[:200]
    return None if off < 1e-3 else f"a product is off by {off:.1e}"


def _check_interface(
    component: str, file: Path, spec: GraphSpec, session: onnxruntime.InferenceSession
) -> None:
    """InputError: the graph's tensors are not those of the spec."""
    for kind, specs, found in (
        ("inputs", spec.inputs, session.get_inputs()),
        ("outputs", spec.outputs, session.get_outputs()),
    ):
        expected = [(tensor.name, tensor.dtype) for tensor in specs]
        actual = [(tensor.name, DTYPES.get(tensor.type, tensor.type)) for tensor in found]
        if sorted(actual) != sorted(expected):
            raise InputError(f"{component}: {file} has {kind} {actual}, expected {expected}")
