"""TensorRT, or TensorRT for RTX: engines that `compile` built, run on device memory. Built, not
executed here: no GPU."""

from __future__ import annotations

import contextlib
import importlib
import platform
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Final

import numpy as np

from nextomni_edge.bundle.graph_content import graph_content
from nextomni_edge.errors import InputError, MissingRuntimeError, NextOmniError, UsageError
from nextomni_edge.runtimes.base import Array, Compute, Runtime, Session
from nextomni_edge.runtimes.state import Ids, whole_or_none
from nextomni_edge.runtimes.tensorrt.cuda import CudaDevice, devices
from nextomni_edge.runtimes.tensorrt.device import Buffer, Device, DeviceState
from nextomni_edge.runtimes.tensorrt.engine import (
    Description,
    Identity,
    check_interface,
    content_key,
    engines_beside,
    find_engine,
)
from nextomni_edge.runtimes.tensorrt.profile import outside
from nextomni_edge.spec import GraphSpec, Wire

# the first is JetPack's and a server's, the second a PC's
LIBRARIES: Final = ("tensorrt", "tensorrt_rtx")
LEAST: Final = (10, 3)  # of `tensorrt`, which JetPack 6.1 has
COMPUTES: Final[tuple[Compute, ...]] = ("float32", "bfloat16", "float16")


def library() -> ModuleType:
    """The installed TensorRT. MissingRuntimeError: it is missing or too old; the error has the
    command that installs it on this platform."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            return _new_enough(importlib.import_module(name))
    raise MissingRuntimeError(
        f"runtime tensorrt: {' and '.join(LIBRARIES)} are not installed; install it with:"
        f" {install()}"
    )


def _new_enough(trt: ModuleType) -> ModuleType:
    found = tuple(int(number) for number in re.findall(r"\d+", str(trt.__version__))[:2])
    if trt.__name__ == LIBRARIES[0] and found < LEAST:
        least = ".".join(map(str, LEAST))
        raise MissingRuntimeError(
            f"runtime tensorrt: TensorRT {trt.__version__} is too old, {least} is the least; a"
            " Jetson has it from JetPack 6.1 on"
        )
    return trt


def install() -> str:
    """The one command that installs TensorRT on this platform."""
    if platform.machine() == "aarch64":
        return "sudo apt-get install python3-libnvinfer"  # of JetPack's own source
    return "pip install 'nextomni-edge[tensorrt]'"


def here() -> str | None:
    """The compute capability of this machine's first GPU, None without one."""
    with contextlib.suppress(MissingRuntimeError):
        return devices()[0].capability
    return None


def this_capability() -> str:
    """The compute capability of this machine's first GPU. MissingRuntimeError: there is no GPU; the
    error says what to do instead."""
    try:
        return devices()[0].capability
    except MissingRuntimeError as error:
        raise MissingRuntimeError(
            f"{error}; to build for another machine's GPU name its kind: --capability sm89"
        ) from error


def log_to(lines: list[tuple[str, str]]) -> Any:
    """A logger for the library that keeps (severity, message)."""
    trt = library()

    class Recorder(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            lines.append((severity.name, message))

    return Recorder()


class TensorRtSession(Session):
    """An engine's context, buffers and graph. They belong to one stream, so one forward runs at a
    time.

    Inputs and outputs are numpy's. Keys and values that a `step` keeps stay on the device, in a
    `DeviceState`.
    """

    def __init__(
        self, spec: GraphSpec, description: Description, context: Any, device: Device, provider: str
    ) -> None:
        super().__init__(spec, provider)
        self.description, self.context, self.device = description, context, device
        self._lock = threading.Lock()
        self._buffers = {tensor.name: Buffer(device) for tensor in description.tensors}
        self._binding: tuple[Any, ...] | None = None
        self._graph: int | None = None
        self._dtypes = {
            tensor.name: np.dtype(tensor.dtype) for tensor in (*spec.inputs, *spec.outputs)
        }

    def state(self, batch: int, columns: int) -> DeviceState:
        """Keys and values kept on the device."""
        self.device.enter()
        return DeviceState(self.device, self.spec, batch, columns)

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        with self._lock:
            return self._forward(inputs, outputs)

    def _step(
        self, inputs: Mapping[str, Array], state: DeviceState, sequences: Ids
    ) -> dict[str, Array]:
        """Every step reads all columns of the state, except one that sees none of them."""
        positions, real = inputs[Wire.POSITIONS], inputs[Wire.ATTENTION_MASK]
        given, sees = whole_or_none(self.spec, inputs, state.seen(sequences, positions, real))
        kept = {own for _, own in self.spec.states}
        outputs = [tensor.name for tensor in self.spec.outputs if tensor.name not in kept]
        with self._lock:
            found = self._forward(given, outputs, state if sees else None, sequences)
            state.put(self._buffers, sequences, positions, real)
        return found

    def _forward(
        self,
        inputs: Mapping[str, Array],
        outputs: list[str],
        state: DeviceState | None = None,
        sequences: Ids | None = None,
    ) -> dict[str, Array]:
        """`state`: the past of these sequences, which `inputs` then lack."""
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        shapes = {name: array.shape for name, array in given.items()}
        if state is not None and sequences is not None:
            shapes |= dict.fromkeys(
                state.buffers, (state.shape[0], len(sequences), *state.shape[2:])
            )
        if wrong := outside(self.description.ranges, shapes):
            raise UsageError(
                f"{self.spec.name}: {wrong}; compile it again with larger --max-batch or --max-rows"
            )
        self.device.enter()
        results = self._results(shapes)
        past = {} if state is None or sequences is None else state.past(sequences, self._buffers)
        buffers = {**self._buffers, **past}
        for name, shape in {**shapes, **results}.items():
            if name not in past:
                buffers[name].reserve(self._nbytes(name, shape))
        for name, array in given.items():
            self.device.upload(buffers[name].address, array.ctypes.data, array.nbytes)
        self._enqueue(shapes, buffers)
        found = {name: np.empty(results[name], self._dtypes[name]) for name in outputs}
        for name, array in found.items():
            self.device.download(array.ctypes.data, buffers[name].address, array.nbytes)
        self.device.synchronise()
        return found

    def _results(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes of all outputs: every free size is one of an input."""
        sizes = {
            dim.name: size
            for tensor in self.spec.inputs
            for dim, size in zip(tensor.dims, shapes[tensor.name], strict=True)
            if not isinstance(dim, int)
        }
        return {tensor.name: tensor.shape(sizes) for tensor in self.spec.outputs}

    def _nbytes(self, name: str, shape: tuple[int, ...]) -> int:
        return int(np.prod(shape, dtype=np.int64)) * self._dtypes[name].itemsize

    def _enqueue(
        self, shapes: Mapping[str, tuple[int, ...]], buffers: Mapping[str, Buffer]
    ) -> None:
        """The forward itself.

        A captured graph belongs to one binding of shapes and addresses, and holds as long as
        nothing changes the context. A new binding runs directly first, which also lets the library
        settle. When the same binding comes again, it is captured and launched.
        """
        binding = tuple(
            (name, shapes.get(name), buffer.address) for name, buffer in sorted(buffers.items())
        )
        if binding != self._binding:
            self._forget_graph()
            for name, shape in shapes.items():
                self._require(self.context.set_input_shape(name, shape), f"shape {shape} of {name}")
            for name, buffer in buffers.items():
                self._require(
                    self.context.set_tensor_address(name, buffer.address), f"the address of {name}"
                )
            self._require(self.context.execute_async_v3(self.device.stream), "the forward")
            self._binding = binding
            return
        if self._graph is None:
            self._graph = self._captured()
        self.device.launch(self._graph)

    def _captured(self) -> int:
        self.device.begin_capture()
        accepted = self.context.execute_async_v3(self.device.stream)
        graph = self.device.end_capture()
        self._require(accepted, "the forward")
        return graph

    def _forget_graph(self) -> None:
        if self._graph is not None:
            self.device.forget(self._graph)
        self._binding = self._graph = None

    def _require(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise NextOmniError(f"{self.spec.name}: TensorRT refused {what}")


class TensorRtRuntime(Runtime):
    """Providers are the GPUs of this machine. It only loads what `compile` built for this very
    library and GPU."""

    NAME: ClassVar = "TensorRT"
    PLACES: ClassVar = {"cuda": "cuda:0"}
    COMPUTES: ClassVar[tuple[Compute, ...]] = COMPUTES
    COMPILES: ClassVar = True

    def __init__(self) -> None:
        self._trt = library()
        self._devices = {f"cuda:{index}": device for index, device in enumerate(devices())}
        self._messages: list[tuple[str, str]] = []
        self._library = self._trt.Runtime(log_to(self._messages))

    def providers(self) -> list[str]:
        return list(self._devices)

    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        chosen = self.choose_provider(component, provider)
        device = self._devices[chosen]
        try:
            content = content_key(graph_content(file))
        except InputError as error:
            raise InputError(f"{component}: {file}: {error}") from error
        identity = identity_of(self._trt, content, device.capability, self.execution.compute)
        description, plan = find_engine(
            self.execution.cache or engines_beside(file.parent), component, identity
        )
        check_interface(description, spec)
        return TensorRtSession(
            spec, description, self._context(component, plan, device), device, chosen
        )

    def _context(self, component: str, plan: memoryview, device: CudaDevice) -> Any:
        device.enter()
        self._messages.clear()
        engine = self._library.deserialize_cuda_engine(plan)
        context = engine.create_execution_context() if engine is not None else None
        if context is None:
            raise InputError(
                f"{component}: TensorRT cannot load its engine ({errors_of(self._messages)});"
                " compile it again"
            )
        return context


def identity_of(trt: ModuleType, content: str, capability: str, compute: str) -> Identity:
    """The identity of an engine of this library for this capability."""
    return Identity(content, trt.__name__, str(trt.__version__), capability, compute)


def errors_of(messages: list[tuple[str, str]]) -> str:
    """The library's error, in one line."""
    said = [
        message
        for severity, message in messages
        if "ERROR" in severity and "CUDA driver version" not in message
    ]
    return " ".join(" ".join(said or ["no reason given"]).split())[:300]
