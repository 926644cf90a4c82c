"""OpenVINO, reading the ONNX graphs: on an x86 processor the fastest."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import openvino

from nextomni_edge.bundle.graph_content import graph_content
from nextomni_edge.errors import InputError, MissingRuntimeError, NextOmniError
from nextomni_edge.files import atomic_write
from nextomni_edge.runtimes.base import Array, Compute, Runtime, Session, threads
from nextomni_edge.spec import GraphSpec

PRECISIONS: Final[dict[Compute, openvino.Type]] = {
    "float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16, "float16": openvino.Type.f16,
}  # fmt: skip
DTYPES: Final = {
    openvino.Type.f32: "float32", openvino.Type.f16: "float16", openvino.Type.i64: "int64", openvino.Type.boolean: "bool",
}  # fmt: skip


@functools.cache
def _core() -> openvino.Core:
    """The one core of this process, kept for its whole life.

    Its CPU plugin gives the thread that loads it another signal stack and unmaps that again when the last user of the plugin goes:
    with a second core, or in another thread, the stack in use is the one unmapped, and the next Ctrl-C ends the process.
    """
    return openvino.Core()


class OpenVinoSession(Session):
    """A compiled model; each thread that runs it has a request of its own, which holds the tensors inside."""

    def __init__(self, spec: GraphSpec, compiled: openvino.CompiledModel) -> None:
        super().__init__(spec, compiled.get_property("EXECUTION_DEVICES")[0])
        self._compiled, self._mine = compiled, threading.local()
        self._ports = {name: port for port in compiled.outputs for name in port.get_names()}

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        if not hasattr(self._mine, "request"):
            self._mine.request = self._compiled.create_infer_request()
        try:
            found = self._mine.request.infer(dict(inputs), share_inputs=True, share_outputs=False)
        except Exception as error:  # the library's exceptions share no base but Exception
            raise NextOmniError(f"{self.spec.name}: OpenVINO failed ({_one_line(error)})") from error
        return {name: found[self._ports[name]] for name in outputs}


class OpenVinoRuntime(Runtime):
    """Providers are OpenVINO's devices. It would compute in bfloat16 of itself where the processor can: float32 is asked for.

    With a cache, a compiled model is kept under a key of its own: the graph with all its weights, the library's version, the
    device and the settings. A file there that is not whole is compiled again.
    """

    NAME: ClassVar = "OpenVINO"
    COMPUTES: ClassVar[tuple[Compute, ...]] = ("float32", "bfloat16", "float16")
    COMPILES: ClassVar = True

    def __init__(self) -> None:
        self._core = _core()

    def providers(self) -> list[str]:
        return list(self._core.available_devices)

    def load(self, component: str, file: Path, spec: GraphSpec, provider: str | None = None) -> Session:
        device = self.choose_provider(component, provider, "CPU")
        kept = self._cached_file(component, file, device)
        compiled = self._restore(kept, device) if kept else None
        if compiled is None:
            compiled = self._compile(component, file, device)
            if kept:
                _keep(kept, compiled)
        self._check_runs_as_asked(component, compiled, device)
        _check_interface(component, file, spec, compiled)
        return OpenVinoSession(spec, compiled)

    def _settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {"INFERENCE_PRECISION_HINT": PRECISIONS[self.execution.compute], "PERFORMANCE_HINT": "LATENCY"}
        return found | ({"INFERENCE_NUM_THREADS": threads()} if threads() else {})

    def _compile(self, component: str, file: Path, device: str) -> openvino.CompiledModel:
        try:
            model = self._core.read_model(file)
            _check_grouped_heads(component, file, model)
            return self._core.compile_model(model, device, self._settings())
        except NextOmniError:
            raise
        except Exception as error:  # the library's exceptions share no base but Exception
            raise InputError(f"{component}: OpenVINO cannot load {file} ({_one_line(error)})") from error

    def _check_runs_as_asked(self, component: str, compiled: openvino.CompiledModel, device: str) -> None:
        """MissingRuntimeError: another device would run than the one chosen, or in another arithmetic than asked for."""
        found = compiled.get_property("EXECUTION_DEVICES")
        if found != [device] and not self.execution.allow_fallback:
            raise MissingRuntimeError(f"{component}: provider {device} was asked for, but {', '.join(found)} would run")
        precision, wanted = compiled.get_property("INFERENCE_PRECISION_HINT"), self.execution.compute
        if precision != PRECISIONS[wanted]:
            raise MissingRuntimeError(
                f"{component}: {wanted} was asked for, but {device} would compute in {precision.to_string()}; "
                "leave --compute out, or take a device that has it"
            )

    def _cached_file(self, component: str, file: Path, device: str) -> Path | None:
        """Where this model, compiled by this library for this device, is kept."""
        if self.execution.cache is None:
            return None
        self.execution.cache.mkdir(parents=True, exist_ok=True)
        settings = {name: str(value) for name, value in self._settings().items()}
        name = self._core.get_property(device, "FULL_DEVICE_NAME")
        key = json.dumps([graph_content(file), openvino.__version__, device, name, settings], sort_keys=True)
        return self.execution.cache / f"{component}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.openvino"

    def _restore(self, kept: Path, device: str) -> openvino.CompiledModel | None:
        """The compiled model of a file that is whole; None where there is none, or the library does not take it."""
        with contextlib.suppress(OSError, RuntimeError):
            content = kept.read_bytes()
            digest, blob = content[:32], content[32:]
            if hashlib.sha256(blob).digest() == digest:
                return self._core.import_model(blob, device, self._settings())
        return None


def _one_line(error: Exception) -> str:
    """What the library says, without the places in its sources that stand first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from src", "Check '", "While validating", "FrontEnd API"))]
    return " ".join(said or lines)[:300]


def _keep(kept: Path, compiled: openvino.CompiledModel) -> None:
    """Write a compiled model after its digest. It is read back by its owner alone: it is as trusted as a program."""
    blob = compiled.export_model().getvalue()
    with atomic_write(kept) as file:
        file.write(hashlib.sha256(blob).digest() + blob)


def _check_grouped_heads(component: str, file: Path, model: openvino.Model) -> None:
    """InputError: attention with fewer key than query heads, not expanded: it would read memory that is not its own."""
    for operation in model.get_ops():
        if operation.get_type_name() == "ScaledDotProductAttention":
            query, key = (operation.input(index).get_partial_shape()[1] for index in (0, 1))
            if query != key or query.is_dynamic:
                raise InputError(
                    f"{component}: OpenVINO reads attention with {query} query and {key} key heads from {file}, expected the same "
                    "constant number; export the model again with this release"
                )


def _check_interface(component: str, file: Path, spec: GraphSpec, compiled: openvino.CompiledModel) -> None:
    """InputError: the graph's tensors are not those of the spec."""
    for kind, specs, ports in (("inputs", spec.inputs, compiled.inputs), ("outputs", spec.outputs, compiled.outputs)):
        expected = [(tensor.name, tensor.dtype) for tensor in specs]
        actual = [
            (name, DTYPES.get(port.get_element_type(), str(port.get_element_type()))) for port in ports for name in port.get_names()
        ]
        if sorted(actual) != sorted(expected):
            raise InputError(f"{component}: {file} has {kind} {actual}, expected {expected}")
