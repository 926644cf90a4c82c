"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import onnxruntime

from nextomni_edge.errors import InputError, MissingRuntimeError, NextOmniError
from nextomni_edge.runtimes.base import Array, Runtime, Session, threads
from nextomni_edge.spec import GraphSpec

DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(bool)": "bool"}


class OnnxSession(Session):
    """`library_session` runs the graph; ONNX Runtime falls back to the CPU silently, so the provider is what it reports."""

    def __init__(self, spec: GraphSpec, library_session: onnxruntime.InferenceSession) -> None:
        super().__init__(spec, library_session.get_providers()[0])
        self._session = library_session

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        try:
            found = self._session.run(outputs, dict(inputs))
        except Exception as error:  # the library's exceptions share no base but Exception
            raise NextOmniError(f"{self.spec.name}: ONNX Runtime failed ({error})") from error
        return dict(zip(outputs, found, strict=True))


class OnnxRuntime(Runtime):
    """Runs ONNX graphs on ONNX Runtime's execution providers."""

    NAME: ClassVar = "ONNX Runtime"

    def providers(self) -> list[str]:
        return list(onnxruntime.get_available_providers())

    def load(self, component: str, file: Path, spec: GraphSpec, provider: str | None = None) -> Session:
        provider = self.choose_provider(component, provider, "CPUExecutionProvider")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3  # warnings about what the optimiser could not fold mean nothing to a user
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=[provider])
        except Exception as error:  # the library's exceptions share no base but Exception
            raise InputError(f"{component}: ONNX Runtime cannot load {file} ({error})") from error
        found = session.get_providers()[0]
        if found != provider and not self.execution.allow_fallback:
            raise MissingRuntimeError(
                f"{component}: provider {provider} was asked for, but {found} would run; --allow-fallback lets it"
            )
        _check_interface(component, file, spec, session)
        return OnnxSession(spec, session)


def _check_interface(component: str, file: Path, spec: GraphSpec, session: onnxruntime.InferenceSession) -> None:
    """InputError: the graph's tensors are not those of the spec."""
    for kind, specs, found in (("inputs", spec.inputs, session.get_inputs()), ("outputs", spec.outputs, session.get_outputs())):
        expected = [(tensor.name, tensor.dtype) for tensor in specs]
        actual = [(tensor.name, DTYPES.get(tensor.type, tensor.type)) for tensor in found]
        if sorted(actual) != sorted(expected):
            raise InputError(f"{component}: {file} has {kind} {actual}, expected {expected}")
