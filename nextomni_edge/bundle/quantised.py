"""What a quantised layer stores and how its numbers are meant, in numpy, for those who write it and
those who check it.

Beside a weight W, as the model has it (out, in), stand initializers named after it:
    .quantised   the integers q. "blocks": uint8, (out, blocks, block_size · bits / 8), two 4-bit
                 values a byte, low nibble first, each row cut in blocks along `in` and filled up at
                 the end; (rows, bytes) for a gather. Else int8 (or int4, or of "float8" E4M3), in
                 the layout of the graph's own weight: (in, out) for "matmul".
    .scale       "blocks": float16, (out, blocks); the integers were chosen for the rounded value.
                 Else float32: per output channel (per row of a gather), for an einsum (…, 1, out),
                 or (…, blocks, out) with int4.
    .zero_point  "blocks" that are not symmetric: uint8, packed as q, (out, blocks · bits / 8).
                 Symmetric ones mean 2^(bits−1).
    .smoothing   float32 (in,): the layer's input is multiplied by it, and Ŵ was made of
                 W / smoothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle.manifest import Decision
from nextomni_edge.errors import InputError
from nextomni_edge.formats import float8
from nextomni_edge.formats.onnx_read import Tensor, read_graph
from nextomni_edge.formats.regular import open_regular

QUANTISED: Final = "quantised"
SCALE: Final = "scale"
ZERO_POINT: Final = "zero_point"
SMOOTHING: Final = "smoothing"
PARTS: Final = (QUANTISED, SCALE, ZERO_POINT, SMOOTHING)
FLOAT8_NAME: Final = "float8_e4m3fn"  # onnx's, of E4M3
_DTYPES: Final = {1: "<f4", 2: "u1", 3: "i1", 10: "<f2", 17: "u1"}
_FLOAT8, _INT4 = 17, 22


def pack(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Values below 2^bits along the last axis, two to a byte for 4 bits (an odd one is padded with
    0)."""
    if bits == 8:
        return values
    even = np.pad(values, [*[(0, 0)] * (values.ndim - 1), (0, values.shape[-1] % 2)])
    return (even[..., 0::2] | (even[..., 1::2] << 4)).astype(np.uint8, copy=False)


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The inverse of `pack`; the last axis is as long as the bytes allow."""
    if bits == 8:
        return packed
    both = np.stack([packed & 15, packed >> 4], axis=-1)
    return both.reshape(*packed.shape[:-1], -1)


def dequantise(
    decision: Decision, parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Ŵ, float32 of the model's `shape`, from the stored parts. Smoothing is not undone."""
    if decision.scheme == "blocks":
        return _from_blocks(decision, parts, shape)
    q, scale = parts[QUANTISED].astype(np.float32), parts[SCALE]
    if decision.operator == "matmul":
        q = q.T
    if decision.operator == "einsum":
        scale = np.repeat(scale, q.shape[1] // scale.shape[1], axis=1)
    else:
        scale = scale.reshape(-1, *[1] * (q.ndim - 1))
    found: NDArray[np.float32] = q * scale
    return found.reshape(shape)


def _from_blocks(
    decision: Decision, parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    rows, columns = shape
    scale = parts[SCALE].astype(np.float32).reshape(rows, -1)
    blocks = scale.shape[1]
    q = unpack(parts[QUANTISED].reshape(rows, blocks, -1), decision.bits).astype(np.float32)
    zero: NDArray[np.float32] | np.float32 = np.float32(2 ** (decision.bits - 1))
    if ZERO_POINT in parts:
        zero = unpack(parts[ZERO_POINT].reshape(rows, -1), decision.bits)[:, :blocks, None].astype(
            np.float32
        )
    found: NDArray[np.float32] = ((q - zero) * scale[..., None]).reshape(rows, -1)
    return found[:, :columns]


def stored_layers(graph: Path) -> dict[str, dict[str, Tensor]]:
    """The parts of a checked bundle's graph, by quantised weight, unread."""
    found: dict[str, dict[str, Tensor]] = {}
    for tensor in read_graph(graph).tensors:
        weight, _, part = tensor.name.rpartition(".")
        if part in PARTS and tensor.entries is not None:
            found.setdefault(weight, {})[part] = tensor
    return found


def read_parts(bundle: Path, tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The parts of one layer, with E4M3 widened to float32. InputError: integers or scales are
    missing, or have another dtype than the format allows."""
    for part in (QUANTISED, SCALE):
        if part not in tensors:
            raise InputError(
                f"{bundle}: a layer without its {part}, which the manifest says is quantised"
            )
    return {part: _read(bundle, tensor) for part, tensor in tensors.items()}


def _read(bundle: Path, tensor: Tensor) -> NDArray[Any]:
    entries = dict(tensor.entries or ())
    if tensor.element not in {*_DTYPES, _INT4}:
        raise InputError(
            f"{bundle}: tensor {tensor.name}: element type {tensor.element}, expected integers or"
            " scales"
        )
    with open_regular(bundle / entries["location"]) as file:
        file.seek(int(entries.get("offset", "0")))
        data = np.frombuffer(file.read(int(entries["length"])), _DTYPES.get(tensor.element, "u1"))
    if tensor.element == _FLOAT8:
        data = float8.decode(data)
    if tensor.element == _INT4:
        data = ((unpack(data, 4) ^ 8).astype(np.int8) - 8)[: int(np.prod(tensor.dims))]
    return data.reshape(tensor.dims)
