"""The weight stream: one tensor at a time from the checkpoint, through one transform, into the
bundle's content store.

`BLOCK` and `COLUMNS` bound the memory, whatever a tensor's size. A text table of half a billion
values passes in pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle import BundleWriter
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import InputError
from nextomni_edge.formats.tensor_file import FLOATS

Precision = Literal["float32", "float16"]
BLOCK: Final = 32 * 2**20
# larger than a block, since every block of columns costs a pass over the matrix
COLUMNS: Final = 128 * 2**20


@dataclass(frozen=True)
class Transform:
    """What happens to a tensor on its way: a cast, and for a matrix its transposition."""

    dtype: Precision = "float32"
    transpose: bool = False


@dataclass(frozen=True)
class Stored:
    """A tensor in the bundle: its file, relative to the bundle, its shape there, and its size in
    bytes."""

    file: str
    shape: tuple[int, ...]
    nbytes: int


class WeightStream:
    """Stores each (tensor, transform) once, however many components ask for it."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        writer: BundleWriter,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`told` is called after every tensor with the number of stored bytes."""
        self.checkpoint, self.writer, self._told = checkpoint, writer, told
        self._stored: dict[tuple[str, Transform], Stored] = {}
        # by tensor: the largest change that a narrowing cast made
        self.rounded: dict[str, float] = {}

    def store(self, name: str, transform: Transform) -> Stored:
        """InputError: the tensor is missing, holds no floats, is not finite, or does not fit the
        precision."""
        key = (name, transform)
        if key not in self._stored:
            _check_floats(self.checkpoint, name)
            shape = self.checkpoint.shape(name)[:: -1 if transform.transpose else 1]
            file = self.writer.add_weight(self.blocks(name, transform))
            self._stored[key] = Stored(
                file, shape, math.prod(shape) * np.dtype(transform.dtype).itemsize
            )
            self._told(sum(stored.nbytes for stored in self._stored.values()))
        return self._stored[key]

    def small(self, name: str) -> NDArray[np.float32]:
        """A tensor small enough to stand inside a graph, float32."""
        tensor = self.checkpoint.tensor(name).astype(np.float32, copy=False)
        _check_finite(name, tensor)
        return tensor

    def blocks(self, name: str, transform: Transform) -> Iterator[memoryview]:
        """A tensor's bytes, little-endian, a block at a time. InputError: as `store`."""
        for block in (_transposed if transform.transpose else _flat)(self.checkpoint, name):
            _check_finite(name, block)
            cast = self._cast(name, block, transform.dtype)
            yield np.ascontiguousarray(cast).reshape(-1).view(np.uint8).data

    def _cast(self, name: str, block: NDArray[Any], dtype: Precision) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            cast = block.astype(np.dtype(dtype).newbyteorder("<"))
        if not np.isfinite(cast).all():
            raise InputError(
                f"tensor {name}: {np.abs(block).max():.3g} does not fit {dtype}; export with"
                " --precision float32"
            )
        change = (
            float(np.abs(cast.astype(np.float32) - block.astype(np.float32)).max(initial=0.0))
            if dtype == "float16"
            else 0.0
        )
        if change > 0.0:
            self.rounded[name] = max(change, self.rounded.get(name, 0.0))
        return cast


def _check_floats(checkpoint: Checkpoint, name: str) -> None:
    if (dtype := checkpoint.dtype(name)) not in FLOATS:
        raise InputError(
            f"{checkpoint.path}: tensor {name} has dtype {dtype}, expected one of"
            f" {', '.join(FLOATS)}"
        )


def _check_finite(name: str, block: NDArray[Any]) -> None:
    if not np.isfinite(block).all():
        raise InputError(
            f"tensor {name} has values that are not finite; the checkpoint is not usable"
        )


def _flat(checkpoint: Checkpoint, name: str) -> Iterator[NDArray[Any]]:
    """The values in order."""
    count = math.prod(checkpoint.shape(name))
    step = BLOCK // 8
    for start in range(0, count, step):
        yield checkpoint.values(name, start, min(step, count - start))


def _transposed(checkpoint: Checkpoint, name: str) -> Iterator[NDArray[Any]]:
    """The values of a matrix, column by column. A matrix larger than `COLUMNS` is read once per
    block of columns."""
    rows, columns = checkpoint.shape(name)
    across, down = max(1, COLUMNS // 4 // max(rows, 1)), max(1, BLOCK // 8 // max(columns, 1))
    for left in range(0, columns, across):
        right = min(left + across, columns)
        block = np.empty((right - left, rows), np.float32)
        for top in range(0, rows, down):
            bottom = min(top + down, rows)
            piece = checkpoint.values(name, top * columns, (bottom - top) * columns).reshape(
                bottom - top, columns
            )
            block[:, top:bottom] = piece[:, left:right].T
        step = max(1, BLOCK // 8 // max(rows, 1))
        yield from (block[start : start + step] for start in range(0, right - left, step))
