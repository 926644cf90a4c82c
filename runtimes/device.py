"""What the session of an engine asks of a GPU, and the buffers and states that it keeps there. No vendor library.

Shapes, growth, which graph fits which shapes and where rows of keys and values go are decided here, on the host; `Device` carries
it out. Tests put numpy in its place: that checks these decisions, and is no run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import UsageError
from nextomni_edge.spec import GraphSpec, Wire


@dataclass(frozen=True)
class Copy:
    """`height` rows of `width` bytes on the device, between places whose rows are `pitch` bytes apart."""

    source: int
    source_pitch: int
    target: int
    target_pitch: int
    width: int
    height: int


class Device(Protocol):
    """A GPU's memory and one stream. Copies and graphs are asked for and done in order; `synchronise` waits for all."""

    @property
    def stream(self) -> int: ...
    def enter(self) -> None: ...
    def allocate(self, nbytes: int) -> int: ...
    def free(self, address: int) -> None: ...
    def clear(self, address: int, nbytes: int) -> None: ...
    def upload(self, address: int, host: int, nbytes: int) -> None: ...
    def download(self, host: int, address: int, nbytes: int) -> None: ...
    def copy_rows(self, copy: Copy) -> None: ...
    def synchronise(self) -> None: ...
    def begin_capture(self) -> None: ...
    def end_capture(self) -> int: ...
    def launch(self, graph: int) -> None: ...
    def forget(self, graph: int) -> None: ...


@dataclass
class Buffer:
    """Device memory that grows and never shrinks, so that its address seldom changes: a captured graph holds addresses."""

    device: Device
    address: int = 0
    capacity: int = 0

    def reserve(self, nbytes: int) -> None:
        """Room for so many bytes."""
        if not self.address or nbytes > self.capacity:
            self.release()
            self.address, self.capacity = self.device.allocate(nbytes), nbytes

    def release(self) -> None:
        if self.address:
            self.device.free(self.address)
            self.address = self.capacity = 0


class DeviceState:
    """Keys and values (layers,B,kv_heads,C,head_dim) of C columns that stay on the device between steps.

    A forward reads all C columns as its past, so shapes and addresses are the same in every step and one graph serves them; which
    of them rows see is the mask's affair: `filled` (B,C) are those that hold something. UsageError: a component without states.
    """

    def __init__(self, device: Device, spec: GraphSpec, batch: int, columns: int) -> None:
        if not spec.states:
            raise UsageError(f"{spec.name}: keeps nothing from one call to the next")
        self.device, self.spec = device, spec
        past = next(tensor for tensor in spec.inputs if tensor.name == Wire.PAST_KEYS)
        self.shape = past.shape({"batch": batch, "past": columns})
        self._row = self.shape[-1] * np.dtype(past.dtype).itemsize
        self.buffers = {name: Buffer(device) for name, _ in spec.states}
        for buffer in self.buffers.values():
            buffer.reserve(self.nbytes // len(self.buffers))
        self.filled: NDArray[np.bool_] = np.zeros((batch, columns), np.bool_)
        self.reset()

    @property
    def nbytes(self) -> int:
        """Of keys and values together."""
        return len(self.buffers) * math.prod(self.shape[:-1]) * self._row

    def reset(self) -> None:
        """Forget everything. Cleared, as what a mask hides is still multiplied by zero, and memory may hold NaN."""
        for buffer in self.buffers.values():
            self.device.clear(buffer.address, buffer.capacity)
        self.filled[:] = False

    def trim(self, columns: int) -> None:
        """Forget the columns from the given one on."""
        self.filled[:, columns:] = False

    def put(self, outputs: dict[str, int], rows: int, start: int) -> None:
        """Take the rows of a forward's own keys and values, at these addresses, as columns `start` to `start + rows`.

        UsageError: there are not so many columns.
        """
        columns = self.shape[3]
        if not 0 <= start <= start + rows <= columns:
            raise UsageError(f"{self.spec.name}: columns {start} to {start + rows}, the state has {columns}")
        for past, own in self.spec.states:
            target = self.buffers[past].address + start * self._row
            width, height = rows * self._row, math.prod(self.shape[:3])
            self.device.copy_rows(Copy(outputs[own], width, target, columns * self._row, width, height))
        self.filled[:, start : start + rows] = True

    def release(self) -> None:
        for buffer in self.buffers.values():
            buffer.release()
