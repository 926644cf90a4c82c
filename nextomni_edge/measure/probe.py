"""This machine's own figures, measured in a second or two: memory bandwidth, and products of
matrices in each precision."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from nextomni_edge.errors import MissingRuntimeError
from nextomni_edge.formats.onnx_write import Value, one_node
from nextomni_edge.measure.devices import Device
from nextomni_edge.runtimes.base import runtime
from nextomni_edge.spec import GraphSpec, TensorSpec

SIDE: Final = 2048  # of the weight
ROWS: Final = 256
BLOCK: Final = 32
REPEATS: Final = 5
SWEEP: Final = 64 * 2**20  # float32 values read for the bandwidth: no cache holds them
# ONNX Runtime widens float16 when it loads; MatMulNBits keeps a block's 16 bytes with three float32
# (the scale, once more packed with the integers, and the block's sum) in place of its one
# float16.
LOADED: Final = {"float16": 2.0, "int4": (16 + 3 * 4) / (16 + 2)}


def probe() -> Device:
    """The processor as a device: the best of several runs of each. MissingRuntimeError: ONNX
    Runtime is not installed."""
    bandwidth = 4 * SWEEP / _fastest(_sweep())
    a, b = np.ones((ROWS, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
    work = 2.0 * ROWS * SIDE * SIDE
    float32 = work / _fastest(lambda: a @ b)
    rates = {
        "float32": float32,
        "float16": float32,
        "int8": work / _graph(_int8()),
        "int4": work / _graph(_int4()),
    }
    memory = physical_memory()
    if memory is None:
        raise MissingRuntimeError(
            "this system does not say how much memory it has; name another device (--device)"
        )
    return Device(
        "this processor",
        memory,
        memory // 8,
        bandwidth,
        rates,
        "measured here; reserve: an eighth",
        LOADED,
    )


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say (Windows)."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _sweep() -> Callable[[], object]:
    """Reads a matrix once."""
    matrix, vector = np.ones((SWEEP // SIDE, SIDE), np.float32), np.ones(SIDE, np.float32)
    return lambda: matrix @ vector


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of several calls."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _graph(model: bytes) -> float:
    """Seconds that ONNX Runtime takes for a product of (ROWS, SIDE) with a graph's weight."""
    inside, outside = (TensorSpec(name, "float32", (ROWS, SIDE)) for name in ("a", "y"))
    spec = GraphSpec("probe", (inside,), (outside,))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "probe.onnx"
        file.write_bytes(model)
        session = runtime("onnx").load("probe", file, spec)
    inputs = {"a": np.random.default_rng(0).standard_normal((ROWS, SIDE), np.float32)}
    return _fastest(lambda: session.run(inputs))


def _int8() -> bytes:
    weight = np.random.default_rng(0).integers(-127, 128, (SIDE, SIDE), np.int8)
    return _product("DynamicQuantizeMatMul", weight, SIDE, {})


def _int4() -> bytes:
    weight = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE // BLOCK, BLOCK // 2), np.uint8)
    attributes = {"K": SIDE, "N": SIDE, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
    return _product("MatMulNBits", weight, SIDE * SIDE // BLOCK, attributes)


def _product(operator: str, weight: np.ndarray, scales: int, attributes: dict[str, int]) -> bytes:
    """y = operator(a, weight, its scales), of com.microsoft."""
    ends: Value = "float32", (ROWS, SIDE)
    constants = {"b": weight, "s": np.full(scales, 1e-3, np.float32)}
    return one_node(operator, {"a": ends}, ("y", ends), constants, attributes, "com.microsoft")
