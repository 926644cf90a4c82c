"""What an engine's session asks of a GPU, and the buffers and states that it keeps there. No vendor
library.

The host decides shapes, growth, which graph fits which shapes, and the place of keys and values;
`Device` carries it out. Tests put numpy in its place. That checks these decisions, and is no run.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nextomni_edge.runtimes.state import Ids, Mask, State, check_keeps
from nextomni_edge.spec import GraphSpec, Wire


@dataclass(frozen=True)
class Copy:
    """`height` rows of `width` bytes on the device, between places whose rows are `pitch` bytes
    apart."""

    source: int
    source_pitch: int
    target: int
    target_pitch: int
    width: int
    height: int


class Device(Protocol):
    """A GPU's memory and one stream. Copies and graphs are queued and run in order; `synchronise`
    waits for all."""

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
    """Device memory that grows and never shrinks, so that its address seldom changes: a captured
    graph holds addresses."""

    device: Device
    address: int = 0
    capacity: int = 0

    def reserve(self, nbytes: int) -> None:
        """Room for this many bytes."""
        if not self.address or nbytes > self.capacity:
            self.release()
            self.address, self.capacity = self.device.allocate(nbytes), nbytes

    def release(self) -> None:
        if self.address:
            self.device.free(self.address)
            self.address = self.capacity = 0


class DeviceState(State):
    """Keys and values (layers,B,kv_heads,columns,head_dim) that stay on the device between steps,
    and are freed with this object.

    A forward of all sequences reads every column in place. Shapes and addresses are then the same
    in every step, and one graph serves them. The mask decides which columns a row sees. UsageError:
    a component without states.
    """

    def __init__(self, device: Device, spec: GraphSpec, batch: int, columns: int) -> None:
        super().__init__(batch, columns)
        check_keeps(spec)
        self.device = device
        past = next(tensor for tensor in spec.inputs if tensor.name == Wire.PAST_KEYS)
        self.shape = past.shape({"batch": batch, "past": columns})
        self._row = self.shape[-1] * np.dtype(past.dtype).itemsize
        self._outputs = dict(spec.states)
        self.buffers = {name: Buffer(device) for name in self._outputs}
        weakref.finalize(self, _release, device, tuple(self.buffers.values()))
        for buffer in self.buffers.values():
            buffer.reserve(self.nbytes // len(self.buffers))
            # what a mask hides is multiplied by 0, and memory may hold NaN
            device.clear(buffer.address, buffer.capacity)

    @property
    def nbytes(self) -> int:
        return len(self.buffers) * math.prod(self.shape[:-1]) * self._row

    def past(self, sequences: Ids, room: Mapping[str, Buffer]) -> Mapping[str, Buffer]:
        """Where a forward of these sequences reads: in place, if they are all, else a copy in
        `room`."""
        layers, batch, *plane = self.shape
        if np.array_equal(sequences, np.arange(batch)):
            return self.buffers
        size = math.prod(plane[:-1]) * self._row  # of a sequence in a layer
        for name, kept in self.buffers.items():
            room[name].reserve(layers * len(sequences) * size)
            for place, sequence in enumerate(sequences.tolist()):
                source, target = kept.address + sequence * size, room[name].address + place * size
                self.device.copy_rows(
                    Copy(source, batch * size, target, len(sequences) * size, size, layers)
                )
        return {name: room[name] for name in self.buffers}

    def put(
        self, outputs: Mapping[str, Buffer], sequences: Ids, positions: Ids, real: Mask
    ) -> None:
        """Keep the `real` rows (b,n) of a forward's own keys and values, which are in these
        buffers."""
        columns, rows = self.shape[3], positions.shape[1]
        for name, kept in self.buffers.items():
            new = outputs[self._outputs[name]].address
            for place, read, written, heads in self._planes(sequences, positions, real):
                for row, position, count in _runs(positions[place], real[place]):
                    source, target = (
                        new + (read * rows + row) * self._row,
                        kept.address + (written * columns + position) * self._row,
                    )
                    copy = Copy(
                        source,
                        rows * self._row,
                        target,
                        columns * self._row,
                        count * self._row,
                        heads,
                    )
                    self.device.copy_rows(copy)

    def _planes(
        self, sequences: Ids, positions: Ids, real: Mask
    ) -> Iterator[tuple[int, int, int, int]]:
        """(place in the batch, first plane (columns,head_dim) of the new rows and of the kept ones,
        number of planes). One copy serves all layers, heads and sequences where each sequence has
        the same rows."""
        layers, batch, heads = self.shape[:3]
        alike = (positions == positions[0]).all() and (real == real[0]).all()
        if alike and np.array_equal(sequences, np.arange(batch)):
            yield 0, 0, 0, layers * batch * heads
            return
        for place, sequence in enumerate(sequences.tolist()):
            for layer in range(layers):
                yield (
                    place,
                    (layer * len(sequences) + place) * heads,
                    (layer * batch + sequence) * heads,
                    heads,
                )


def _runs(positions: Ids, real: Mask) -> Iterator[tuple[int, int, int]]:
    """(row, position, count) of real rows (n,) that follow one another as their positions do."""
    rows = np.flatnonzero(real)
    ends = np.flatnonzero((np.diff(rows) != 1) | (np.diff(positions[rows]) != 1)) + 1
    for part in np.split(rows, ends):
        if part.size:
            yield int(part[0]), int(positions[part[0]]), part.size


def _release(device: Device, buffers: Iterable[Buffer]) -> None:
    device.enter()  # the object may go in any thread
    for buffer in buffers:
        buffer.release()
