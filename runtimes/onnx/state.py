"""Keys and values in the memory of an ONNX Runtime provider. Graphs of one operator write and read
them there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

import numpy as np
import onnxruntime
from onnxruntime import InferenceSession, OrtValue

from nextomni_edge.formats.onnx_write import one_node
from nextomni_edge.runtimes.state import Ids, Mask, State, check_keeps, kept_arrays
from nextomni_edge.spec import GraphSpec

# the first would build an engine for each
COPIES_ON: Final = {"TensorrtExecutionProvider": "CUDAExecutionProvider"}


class BoundState(State):
    """Keys and values (layers,B,kv_heads,columns + 1,head_dim) in the provider's memory. Padding
    goes to the last column, which no row sees. UsageError: a component without states."""

    def __init__(
        self, spec: GraphSpec, memory: str, provider: str, batch: int, columns: int
    ) -> None:
        super().__init__(batch, columns)
        check_keeps(spec)
        zeros = kept_arrays(spec, batch, columns + 1)
        self._memory, self._nbytes = memory, sum(array.nbytes for array in zeros.values())
        self._kept = {name: self._placed(array) for name, array in zeros.items()}
        dtype = next(iter(zeros.values())).dtype.name
        self._put, self._pick = _copiers(COPIES_ON.get(provider, provider), dtype)

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def seen(self, sequences: Ids, positions: Ids, real: Mask) -> Mask:
        return np.pad(super().seen(sequences, positions, real), ((0, 0), (0, 1)))

    def past(self, sequences: Ids) -> Mapping[str, OrtValue]:
        """The kept columns of these sequences, without a copy where they are all."""
        if np.array_equal(sequences, np.arange(len(self.filled))):
            return self._kept
        places = self._placed(sequences)
        return {
            name: self._run(self._pick, {"kept": kept, "places": places})
            for name, kept in self._kept.items()
        }

    def put(self, new: Mapping[str, OrtValue], sequences: Ids, positions: Ids, real: Mask) -> None:
        """Keep the `real` rows (b,n) of arrays (layers,b,kv_heads,n,head_dim), by the name of the
        input that takes them."""
        layers, _, heads, columns, _ = next(iter(self._kept.values())).shape()
        places = np.empty((layers, len(sequences), heads, positions.shape[1], 4), np.int64)
        places[..., 0] = np.arange(layers)[:, None, None, None]
        places[..., 1] = sequences[:, None, None]
        places[..., 2] = np.arange(heads)[:, None]
        places[..., 3] = np.where(real, positions, columns - 1)[:, None]
        given = self._placed(places)
        for name, kept in self._kept.items():
            # in place
            self._run(self._put, {"kept": kept, "places": given, "new": new[name]}, kept)

    def _placed(self, array: np.ndarray) -> OrtValue:
        return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._memory)

    def _run(
        self, copier: InferenceSession, given: Mapping[str, OrtValue], out: OrtValue | None = None
    ) -> OrtValue:
        binding = copier.io_binding()
        for name, value in given.items():
            binding.bind_ortvalue_input(name, value)
        if out is None:
            binding.bind_output("out", self._memory)
        else:
            binding.bind_ortvalue_output("out", out)
        copier.run_with_iobinding(binding)
        found: OrtValue = binding.get_outputs()[0]
        return found


@functools.cache
def _copiers(provider: str, dtype: str) -> tuple[InferenceSession, InferenceSession]:
    """(rows into what is kept, sequences out of it)."""
    kept = dtype, (None,) * 5
    put = one_node(
        "ScatterND", {"kept": kept, "places": ("int64", (None,) * 5), "new": kept}, ("out", kept)
    )
    pick = one_node(
        "Gather",
        {"kept": kept, "places": ("int64", (None,))},
        ("out", kept),
        attributes={"axis": 1},
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    one, other = (InferenceSession(graph, options, providers=[provider]) for graph in (put, pick))
    return one, other
