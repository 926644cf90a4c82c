"""What a session keeps of sequences from one step to the next: the keys and values of each row, at
its position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import UsageError
from nextomni_edge.spec import GraphSpec, Wire

Array = NDArray[Any]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


class State(ABC):
    """Keys and values of B sequences of up to `columns` positions each, from `Session.state`. Their
    form and place are the session's affair.

    filled (B,columns): the positions that hold something.
    """

    # any rows may be computed again; False: only a sequence's last rows
    any_rows = True

    def __init__(self, batch: int, columns: int) -> None:
        self.filled: Mask = np.zeros((batch, columns), np.bool_)

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """The bytes that it holds, filled or not."""

    def trim(self, length: int, sequences: Ids | None = None) -> None:
        """Forget the positions from `length` on, for these sequences or all."""
        self.filled[slice(None) if sequences is None else sequences, length:] = False

    def reset(self, sequences: Ids | None = None) -> None:
        """Forget all of these sequences, or of all."""
        self.trim(0, sequences)

    def seen(self, sequences: Ids, positions: Ids, real: Mask) -> Mask:
        """Columns (b,columns) that rows at `positions` (b,n) see where `real`: all kept ones but
        those that the rows replace."""
        kept: Mask = self.filled[sequences]
        place, row = np.nonzero(real)
        kept[place, positions[place, row]] = False
        return kept

    def fill(self, sequences: Ids, positions: Ids, real: Mask) -> None:
        """These rows are kept from now on."""
        place, row = np.nonzero(real)
        self.filled[sequences[place], positions[place, row]] = True


def check_keeps(spec: GraphSpec) -> None:
    """UsageError: a component without states."""
    if not spec.states:
        raise UsageError(f"{spec.name}: keeps nothing from one call to the next")


def kept_arrays(spec: GraphSpec, batch: int, columns: int) -> dict[str, Array]:
    """Zeros (layers,B,kv_heads,columns,head_dim) for each input that takes kept values; none, if
    the component keeps nothing."""
    taken, sizes = {name for name, _ in spec.states}, {"batch": batch, "past": columns}
    return {
        tensor.name: np.zeros(tensor.shape(sizes), tensor.dtype)
        for tensor in spec.inputs
        if tensor.name in taken
    }


def whole_or_none(
    spec: GraphSpec, inputs: Mapping[str, Array], seen: Mask
) -> tuple[dict[str, Array], bool]:
    """Inputs of a step that reads all columns of a state, with the same shapes every time, and
    True. Where the rows see none of them (`seen`, (b,columns)), the inputs of a step without a
    past, and False."""
    if seen.any():
        return {
            **inputs,
            Wire.ATTENTION_MASK: np.concatenate([seen, inputs[Wire.ATTENTION_MASK]], axis=1),
        }, True
    return {**inputs, **kept_arrays(spec, len(seen), 0)}, False


class HostState(State):
    """Arrays (layers,B,kv_heads,columns,head_dim) in numpy's memory, by the name of the input that
    takes them.

    UsageError: a component without states, or more sequences or columns than it takes.
    """

    def __init__(self, spec: GraphSpec, batch: int, columns: int) -> None:
        super().__init__(batch, columns)
        check_keeps(spec)
        self.outputs, self.arrays = dict(spec.states), kept_arrays(spec, batch, columns)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    def past(self, sequences: Ids, columns: int) -> dict[str, Array]:
        """The first columns of these sequences, without a copy where the sequences are adjacent."""
        first, last = int(sequences[0]), int(sequences[-1])
        together = np.array_equal(sequences, np.arange(first, last + 1))
        chosen = slice(first, last + 1) if together else sequences
        return {name: array[:, chosen, :, :columns] for name, array in self.arrays.items()}

    def put(self, sequences: Ids, positions: Ids, real: Mask, found: Mapping[str, Array]) -> None:
        """Keep the `real` rows (b,n) of the outputs that are states."""
        place, row = np.nonzero(real)
        for name, array in self.arrays.items():
            array[:, sequences[place], :, positions[place, row]] = found[self.outputs[name]][
                :, place, :, row
            ]
