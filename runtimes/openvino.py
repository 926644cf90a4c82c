"""OpenVINO, which reads the ONNX graphs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import openvino
import openvino.opset15 as op
from openvino.frontend.onnx import ConversionExtension

from nextomni_edge.bundle.graph_content import graph_content
from nextomni_edge.bundle.quantised import QUANTISED, stored_layers
from nextomni_edge.errors import InputError, MissingRuntimeError, NextOmniError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import read_regular
from nextomni_edge.runtimes.base import Array, Compute, Runtime, Session
from nextomni_edge.spec import GraphSpec

PRECISIONS: Final[dict[Compute, openvino.Type]] = {
    "float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16, "float16": openvino.Type.f16,
}  # fmt: skip
DTYPES: Final = {
    openvino.Type.f32: "float32", openvino.Type.f16: "float16", openvino.Type.i64: "int64",
    openvino.Type.boolean: "bool",
}  # fmt: skip
LAST: Final = np.array([-1])
ONNX_UINT8: Final = 2  # of packed 4-bit values, two a byte
ONNX_FLOAT8: Final = 17  # E4M3


@functools.cache
def _core() -> openvino.Core:
    """The only core of this process, kept for its whole life.

    Its CPU plugin gives the loading thread another signal stack, and unmaps it with the plugin's
    last user. With a second core, or in another thread, that would unmap a stack in use, and the
    next Ctrl-C would end the process.
    """
    core = openvino.Core()
    core.add_extension(ConversionExtension("GatherBlockQuantized", "com.microsoft", _gather_blocks))
    return core


class OpenVinoSession(Session):
    """A compiled model. Each thread has its own request, which holds the tensors."""

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
            raise NextOmniError(
                f"{self.spec.name}: OpenVINO failed ({_one_line(error)})"
            ) from error
        return {name: found[self._ports[name]] for name in outputs}


class OpenVinoRuntime(Runtime):
    """Providers are OpenVINO's devices. By default OpenVINO computes in bfloat16 where the
    processor can; this runtime asks for float32.

    With a cache, a compiled model is kept under its own key: the graph with all its weights, the
    library's version, the device and the settings. A damaged file there is compiled again.
    """

    NAME: ClassVar = "OpenVINO"
    PLACES: ClassVar = {"cpu": "CPU"}
    COMPUTES: ClassVar[tuple[Compute, ...]] = ("float32", "bfloat16", "float16")
    COMPILES: ClassVar = True

    def __init__(self) -> None:
        self._core = _core()

    def providers(self) -> list[str]:
        return list(self._core.available_devices)

    def default_provider(self) -> str:
        return "CPU"

    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        device = self.choose_provider(component, provider)
        settings = self._settings(_rounded_blocks(component, file))
        kept = self._cached_file(component, file, device, settings)
        compiled = self._restore(kept, device, settings) if kept else None
        if compiled is None:
            compiled = self._compile(component, file, device, settings)
            if kept:
                _keep(kept, compiled)
        self._check_runs_as_asked(component, compiled, device)
        _check_interface(component, file, spec, compiled)
        return OpenVinoSession(spec, compiled)

    def _settings(self, rounded_blocks: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.execution.compute],
            "PERFORMANCE_HINT": "LATENCY",
        }
        found["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = rounded_blocks
        return found | ({"INFERENCE_NUM_THREADS": self.threads} if self.threads else {})

    def _compile(
        self, component: str, file: Path, device: str, settings: dict[str, Any]
    ) -> openvino.CompiledModel:
        try:
            model = self._core.read_model(file)
            _check_grouped_heads(component, file, model)
            return self._core.compile_model(model, device, settings)
        except NextOmniError:
            raise
        except Exception as error:  # the library's exceptions share no base but Exception
            raise InputError(
                f"{component}: OpenVINO cannot load {file} ({_one_line(error)})"
            ) from error

    def _check_runs_as_asked(
        self, component: str, compiled: openvino.CompiledModel, device: str
    ) -> None:
        """MissingRuntimeError: another device than the chosen one would run, or in another
        arithmetic."""
        found = compiled.get_property("EXECUTION_DEVICES")
        if found != [device] and not self.execution.allow_fallback:
            raise MissingRuntimeError(
                f"{component}: provider {device} was asked for, but {', '.join(found)} would run"
            )
        precision, wanted = (
            compiled.get_property("INFERENCE_PRECISION_HINT"),
            self.execution.compute,
        )
        if precision != PRECISIONS[wanted]:
            raise MissingRuntimeError(
                f"{component}: {wanted} was asked for, but {device} would compute in"
                f" {precision.to_string()}; leave --compute out, or take a device that has it"
            )

    def _cached_file(
        self, component: str, file: Path, device: str, settings: dict[str, Any]
    ) -> Path | None:
        """The file of this model, compiled by this library for this device."""
        if self.execution.cache is None:
            return None
        self.execution.cache.mkdir(parents=True, exist_ok=True)
        named = {key: str(value) for key, value in settings.items()}
        name = self._core.get_property(device, "FULL_DEVICE_NAME")
        key = json.dumps(
            [graph_content(file), openvino.__version__, device, name, named], sort_keys=True
        )
        return (
            self.execution.cache
            / f"{component}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.openvino"
        )

    def _restore(
        self, kept: Path, device: str, settings: dict[str, Any]
    ) -> openvino.CompiledModel | None:
        """The compiled model of a whole file; None where there is none, or where the library
        refuses it."""
        with contextlib.suppress(InputError, RuntimeError):
            content = read_regular(kept)
            digest, blob = content[:32], content[32:]
            if hashlib.sha256(blob).digest() == digest:
                return self._core.import_model(blob, device, settings)
        return None


def _rounded_blocks(component: str, file: Path) -> int:
    """The size of the blocks in which the input of a product is rounded to 8 bits.

    With 4-bit weights it is the weights' block size, as in ONNX Runtime. Elsewhere it is 0: only
    the graph rounds. By default the library would round the input of every product with stored
    integers.
    """
    try:
        stored = [parts[QUANTISED] for parts in stored_layers(file).values() if QUANTISED in parts]
    except (InputError, OSError) as error:
        raise InputError(f"{component}: {file}: {error}") from error
    # 2026.4: of inputs near 0 a product is off by 8e-3, a decoder by 0.1
    if any(q.element == ONNX_FLOAT8 for q in stored):
        raise InputError(
            f"{component}: OpenVINO rounds the smallest numbers of E4M3 otherwise than {file} says:"
            " --runtime onnx"
        )
    return min(
        (2 * q.dims[-1] for q in stored if q.element == ONNX_UINT8 and len(q.dims) == 3), default=0
    )


def _gather_blocks(node: Any) -> list[Any]:
    """Rows of a table of 4-bit blocks, (…, columns) float32, by plain operators, which only widen
    the rows that are read.

    The library's own translation needs constant scales; ours are float16 followed by a cast.
    """
    table, rows, scale = (node.get_input(index) for index in range(3))
    blocks, block_size = (
        scale.get_partial_shape()[1].get_length(),
        int(node.get_attribute("block_size")),
    )
    zero: Any = op.constant(np.float32(8))
    if node.get_input_size() > 3:
        packed_zero = _last_axis(_nibbles(node.get_input(3), rows), rows, [-1])
        zero = op.unsqueeze(op.slice(packed_zero, [0], [blocks], [1], LAST), LAST)
    q = _last_axis(_nibbles(table, rows), rows, [blocks, block_size])
    values = op.multiply(
        op.subtract(q, zero), op.unsqueeze(op.gather(scale, rows, np.int64(0)), LAST)
    )
    return list(_last_axis(values, rows, [blocks * block_size]).outputs())


def _nibbles(packed: Any, rows: Any) -> Any:
    """The two 4-bit values of each byte of the rows, low one first, as float32 (…, bytes, 2)."""
    read = op.gather(packed, rows, np.int64(0))
    low, high = op.bitwise_and(read, np.uint8(15)), op.bitwise_right_shift(read, np.uint8(4))
    return op.convert(op.concat([op.unsqueeze(half, LAST) for half in (low, high)], -1), "f32")


def _last_axis(values: Any, rows: Any, sizes: list[int]) -> Any:
    """The values with the axes after those of `rows` reshaped."""
    return op.reshape(
        values, op.concat([op.shape_of(rows), np.array(sizes)], 0), special_zero=False
    )


def _one_line(error: Exception) -> str:
    """The library's message, without the leading places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [
        line
        for line in lines
        if not line.startswith(
            ("Exception from src", "Check '", "While validating", "FrontEnd API")
        )
    ]
    return " ".join(said or lines)[:300]


def _keep(kept: Path, compiled: openvino.CompiledModel) -> None:
    """Write a compiled model after its digest. Only its owner may read it back, because it is
    trusted like a program."""
    blob = compiled.export_model().getvalue()
    with atomic_write(kept) as file:
        file.write(hashlib.sha256(blob).digest() + blob)


def _check_grouped_heads(component: str, file: Path, model: openvino.Model) -> None:
    """InputError: attention with fewer key than query heads that is not expanded. It would read
    foreign memory."""
    for operation in model.get_ops():
        if operation.get_type_name() == "ScaledDotProductAttention":
            query, key = (operation.input(index).get_partial_shape()[1] for index in (0, 1))
            if query != key or query.is_dynamic:
                raise InputError(
                    f"{component}: OpenVINO reads attention with {query} query and {key} key heads"
                    f" from {file}, expected the same constant number; export the model again with"
                    " this release"
                )


def _check_interface(
    component: str, file: Path, spec: GraphSpec, compiled: openvino.CompiledModel
) -> None:
    """InputError: the graph's tensors are not those of the spec."""
    for kind, specs, ports in (
        ("inputs", spec.inputs, compiled.inputs),
        ("outputs", spec.outputs, compiled.outputs),
    ):
        expected = [(tensor.name, tensor.dtype) for tensor in specs]
        named = {name for name, _ in expected}
        # an input that is only multiplied by ones bears the product's name besides its own
        actual = [
            (name, DTYPES.get(port.get_element_type(), str(port.get_element_type())))
            for port in ports
            for name in port.get_names() & named or port.get_names()
        ]
        if sorted(actual) != sorted(expected):
            raise InputError(f"{component}: {file} has {kind} {actual}, expected {expected}")
