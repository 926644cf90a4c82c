"""llama.cpp, through llama-cpp-python's bindings of its C interface: a backbone in a GGUF file.

The library is made for tokens one after another. Here embeddings go in, every row attends to every
other row of its sequence, and hidden states come out. The library keeps keys and values itself, and
only takes a sequence's last rows.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

import llama_cpp
import numpy as np

from nextomni_edge.errors import InputError, NextOmniError, UsageError
from nextomni_edge.runtimes.base import Runtime, Session
from nextomni_edge.runtimes.state import Array, Ids, State
from nextomni_edge.spec import ComponentName, GraphSpec, Wire

CPU: Final = "CPU"
MIN_ROWS: Final = 64  # of a context that grows, by doubling
# rows of one call, so that its buffers stay small; a sequence that has more is a call of its own
TOGETHER: Final = 2048
_GGML_F32: Final = 0
_NO_FLASH_ATTENTION: Final = 0
_NON_CAUSAL: Final = 1


def _say_nothing(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """The library's log tells a user nothing; its errors are return values."""


# kept: the library calls it as long as the process lives
_QUIET: Final = llama_cpp.llama_log_callback(_say_nothing)


class Model:
    """A loaded file. A context keeps its model alive, so that the library frees them in its
    order."""

    def __init__(self, file: Path, threads: int = 0) -> None:
        self.threads = threads  # of its contexts; 0 is the library's own choice
        wanted = llama_cpp.llama_model_default_params()
        wanted.n_gpu_layers = 0
        self.pointer = llama_cpp.llama_model_load_from_file(str(file).encode(), wanted)
        if not self.pointer:
            raise InputError(
                f"llama.cpp cannot load {file}; check the bundle with `nextomni-edge doctor`"
            )
        weakref.finalize(self, llama_cpp.llama_model_free, self.pointer)
        self.width: int = llama_cpp.llama_model_n_embd(self.pointer)
        heads, kept_heads = (
            llama_cpp.llama_model_n_head(self.pointer),
            llama_cpp.llama_model_n_head_kv(self.pointer),
        )
        kept = 2 * llama_cpp.llama_model_n_layer(self.pointer) * kept_heads * self.width // heads
        self.position_nbytes: int = kept * np.dtype(np.float32).itemsize  # of keys and values


class LlamaSession(Session):
    """A loaded file, and one context for whole sequences that grows with them. Threads take turns.

    Padding comes after a sequence's rows, and hidden states are zero there. Sequences with equally
    many rows share a call.
    """

    def __init__(self, spec: GraphSpec, model: Model) -> None:
        super().__init__(spec, CPU)
        self._model, self._turn = model, threading.Lock()
        self._whole: LlamaState | None = None

    def state(self, batch: int, columns: int) -> State:
        return LlamaState(self._model, batch, columns)

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        embeddings, positions = inputs[Wire.EMBEDDINGS], inputs[Wire.POSITIONS]
        lengths = _lengths(self.spec.name, inputs[Wire.ATTENTION_MASK], positions)
        hidden = np.zeros_like(embeddings)
        with self._turn:
            for chosen, length in _calls(lengths):
                state = self._with_room(len(chosen), length)
                state.reset()
                hidden[chosen, :length] = state.decode(
                    np.arange(len(chosen)), embeddings[chosen, :length], positions[chosen, :length]
                )
        return {Wire.HIDDEN: hidden}

    def _step(
        self, inputs: Mapping[str, Array], state: LlamaState, sequences: Ids
    ) -> dict[str, Array]:
        embeddings, positions = inputs[Wire.EMBEDDINGS], inputs[Wire.POSITIONS]
        lengths = _lengths(self.spec.name, inputs[Wire.ATTENTION_MASK], positions)
        hidden = np.zeros_like(embeddings)
        for sequence, first, length in zip(sequences, positions[:, 0], lengths, strict=True):
            _check_last(self.spec.name, int(first), int(length), int(state.filled[sequence].sum()))
        for chosen, length in _calls(lengths):
            for row in chosen:
                state.trim(int(positions[row, 0]), sequences[row : row + 1])
            hidden[chosen, :length] = state.decode(
                sequences[chosen], embeddings[chosen, :length], positions[chosen, :length]
            )
        return {Wire.HIDDEN: hidden}

    def _with_room(self, sequences: int, rows: int) -> LlamaState:
        """A context for at least this many sequences and rows. Its room is never given back."""
        have = self._whole.filled.shape if self._whole is not None else (1, MIN_ROWS)
        if self._whole is None or sequences > have[0] or rows > have[1]:
            room = [
                max(old, 1 << (new - 1).bit_length())
                for old, new in zip(have, (sequences, rows), strict=True)
            ]
            self._whole = None  # first: two of them need not fit
            self._whole = LlamaState(self._model, *room)
        return self._whole


class LlamaState(State):
    """A context of the library: its keys and values of this many sequences, and the buffers of its
    calls."""

    any_rows = False

    def __init__(self, model: Model, batch: int, columns: int) -> None:
        super().__init__(batch, columns)
        wanted = llama_cpp.llama_context_default_params()
        wanted.n_ctx, wanted.n_seq_max, wanted.kv_unified = batch * columns, batch, False
        # a forward without a causal mask must be one piece: n_ubatch; float32 and no flash
        # attention: the reference's arithmetic
        wanted.n_batch = wanted.n_ubatch = max(columns, min(batch * columns, TOGETHER))
        wanted.embeddings, wanted.no_perf = True, True
        wanted.pooling_type, wanted.attention_type = llama_cpp.LLAMA_POOLING_TYPE_NONE, _NON_CAUSAL
        wanted.flash_attn_type, wanted.type_k, wanted.type_v = (
            _NO_FLASH_ATTENTION,
            _GGML_F32,
            _GGML_F32,
        )
        if model.threads:
            wanted.n_threads = wanted.n_threads_batch = model.threads
        self._model, self._context = model, llama_cpp.llama_init_from_model(model.pointer, wanted)
        if not self._context:
            raise NextOmniError(
                f"llama.cpp makes no context of {batch} times {columns} positions; give fewer or"
                " shorter sequences"
            )
        weakref.finalize(self, llama_cpp.llama_free, self._context)
        llama_cpp.llama_set_causal_attn(self._context, False)
        self._memory = llama_cpp.llama_get_memory(self._context)

    @property
    def nbytes(self) -> int:
        return self._model.position_nbytes * int(llama_cpp.llama_n_ctx(self._context))

    def trim(self, length: int, sequences: Ids | None = None) -> None:
        super().trim(length, sequences)
        for sequence in range(len(self.filled)) if sequences is None else sequences.tolist():
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def decode(self, sequences: Ids, embeddings: Array, positions: Array) -> Array:
        """Hidden states (b,n,H) of these sequences' next rows (b,n,H) float32 at positions (b,n),
        in one call."""
        batch, length, width = embeddings.shape
        rows = np.ascontiguousarray(embeddings, np.float32)
        call = llama_cpp.llama_batch_init(batch * length, width, 1)
        try:
            ctypes.memmove(call.embd, rows.ctypes.data, rows.nbytes)
            call.n_tokens = batch * length
            places = zip(
                positions.ravel().tolist(), np.repeat(sequences, length).tolist(), strict=True
            )
            for row, (position, sequence) in enumerate(places):
                call.pos[row], call.n_seq_id[row], call.seq_id[row][0], call.logits[row] = (
                    position,
                    1,
                    sequence,
                    1,
                )
            if status := llama_cpp.llama_decode(self._context, call):
                raise NextOmniError(
                    f"backbone: llama.cpp failed with status {status} on {batch} times {length}"
                    " rows"
                )
            found = llama_cpp.llama_get_embeddings(self._context)
            hidden: Array = np.ctypeslib.as_array(found, rows.shape).copy()
        finally:
            llama_cpp.llama_batch_free(call)
        return hidden


class LlamaCppRuntime(Runtime):
    """Reads GGUF files, only on the processor: no build with another backend was tried."""

    NAME: ClassVar = "llama.cpp"
    PLACES: ClassVar = {"cpu": CPU}

    def __init__(self) -> None:
        llama_cpp.llama_log_set(_QUIET, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()

    def providers(self) -> list[str]:
        return [CPU]

    def load(
        self, component: str, file: Path, spec: GraphSpec, provider: str | None = None
    ) -> Session:
        self.choose_provider(component, provider)
        if component != ComponentName.BACKBONE:
            raise InputError(
                f"{component}: llama.cpp only runs a {ComponentName.BACKBONE}; {file} is another"
                " component"
            )
        try:
            model = Model(file, self.threads)
        except InputError as error:
            raise InputError(f"{component}: {error}") from error
        width = next(tensor.dims[-1] for tensor in spec.inputs if tensor.name == Wire.EMBEDDINGS)
        if model.width != width:
            raise InputError(
                f"{component}: {file} has rows of {model.width} values, expected {width}"
            )
        return LlamaSession(spec, model)


def _lengths(component: str, mask: Array, positions: Array) -> Array:
    """Rows of each sequence, (B,). UsageError: a form that llama.cpp does not support."""
    lengths: Array = mask.sum(axis=1)
    if (mask != (np.arange(mask.shape[1]) < lengths[:, None])).any():
        raise UsageError(
            f"{component}: rows that nothing attends to stand between others; llama.cpp only takes"
            " them at the end"
        )
    if (np.diff(positions, axis=1)[mask[:, 1:]] != 1).any():
        raise UsageError(
            f"{component}: positions do not follow one another; llama.cpp takes no others"
        )
    return lengths


def _check_last(component: str, first: int, length: int, kept: int) -> None:
    """UsageError: rows that are not a sequence's last, or that leave a gap after the `kept`
    ones."""
    if length and not first <= kept <= first + length:
        raise UsageError(
            f"{component}: positions {first} to {first + length - 1} of a sequence of which {kept}"
            " are kept; llama.cpp only computes the last"
        )


def _calls(lengths: Array) -> Iterator[tuple[Array, int]]:
    """(indices of sequences with equally many rows, that number) for each call. The library would
    cut other sequences into pieces."""
    for length in np.unique(lengths[lengths > 0]).tolist():
        alike = np.flatnonzero(lengths == length)
        most = max(1, TOGETHER // length)
        yield from ((alike[start : start + most], length) for start in range(0, len(alike), most))
