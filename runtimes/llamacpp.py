"""llama.cpp, through llama-cpp-python's bindings of its C interface: a backbone that a GGUF file holds.

The library is made for tokens one after another; here embeddings go in, every row attends to every other, and hidden states come
out. Each sequence is decoded by itself, so that what shares a batch with it changes nothing.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import llama_cpp
import numpy as np

from nextomni_edge.errors import InputError, NextOmniError, UsageError
from nextomni_edge.runtimes.base import Array, Runtime, Session, threads
from nextomni_edge.spec import ComponentName, GraphSpec, Wire

CPU: Final = "CPU"
MIN_ROWS: Final = 64  # of a context; it grows by doubling
_GGML_F32: Final = 0
_NO_FLASH_ATTENTION: Final = 0
_NON_CAUSAL: Final = 1


def _say_nothing(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """What the library logs says nothing to a user; its errors are return values."""


_QUIET: Final = llama_cpp.llama_log_callback(_say_nothing)  # kept: the library calls it as long as the process lives


class Model:
    """A loaded file. A context keeps its model, so that the library frees them in its order."""

    def __init__(self, file: Path) -> None:
        wanted = llama_cpp.llama_model_default_params()
        wanted.n_gpu_layers = 0
        self.pointer = llama_cpp.llama_model_load_from_file(str(file).encode(), wanted)
        if not self.pointer:
            raise InputError(f"llama.cpp cannot load {file}; check the bundle with `nextomni-edge doctor`")
        weakref.finalize(self, llama_cpp.llama_model_free, self.pointer)
        self.width: int = llama_cpp.llama_model_n_embd(self.pointer)


class LlamaSession(Session):
    """A loaded file, and one context, whose room grows with the sequences; threads take turns.

    Padding stands behind a sequence's rows, and hidden states are zero there.
    """

    def __init__(self, spec: GraphSpec, model: Model) -> None:
        super().__init__(spec, CPU)
        self._model, self._turn = model, threading.Lock()
        self._context: Context | None = None

    def _run(self, inputs: Mapping[str, Array], outputs: list[str]) -> dict[str, Array]:
        embeddings, positions = inputs[Wire.EMBEDDINGS], inputs[Wire.POSITIONS]
        lengths = _lengths(self.spec.name, inputs[Wire.ATTENTION_MASK], positions)
        hidden = np.zeros_like(embeddings)
        with self._turn:
            context = self._with_room(int(lengths.max()))
            for row, length in enumerate(lengths):
                hidden[row, :length] = context.decode(embeddings[row, :length], positions[row, :length])
        return {Wire.HIDDEN: hidden}

    def _with_room(self, rows: int) -> Context:
        if self._context is None or self._context.rows < rows:
            room = max(MIN_ROWS, 1 << (rows - 1).bit_length())
            self._context = None  # first: two of them need not fit
            self._context = Context(self._model, room)
        return self._context


class Context:
    """Room for a sequence of `rows` positions: its keys and values, and the library's buffers."""

    def __init__(self, model: Model, rows: int) -> None:
        wanted = llama_cpp.llama_context_default_params()
        # a forward without a causal mask must be one piece: n_ubatch; float32 and no flash attention: the reference's arithmetic
        wanted.n_ctx = wanted.n_batch = wanted.n_ubatch = self.rows = rows
        wanted.n_seq_max, wanted.embeddings, wanted.no_perf = 1, True, True
        wanted.pooling_type, wanted.attention_type = llama_cpp.LLAMA_POOLING_TYPE_NONE, _NON_CAUSAL
        wanted.flash_attn_type, wanted.type_k, wanted.type_v = _NO_FLASH_ATTENTION, _GGML_F32, _GGML_F32
        if threads():
            wanted.n_threads = wanted.n_threads_batch = threads()
        self._model, self._context = model, llama_cpp.llama_init_from_model(model.pointer, wanted)
        if not self._context:
            raise NextOmniError(f"llama.cpp makes no context of {rows} positions; give a shorter sequence")
        weakref.finalize(self, llama_cpp.llama_free, self._context)
        llama_cpp.llama_set_causal_attn(self._context, False)

    def decode(self, embeddings: Array, positions: Array) -> Array:
        """Hidden states (n,H) of a sequence's embeddings (n,H) float32 at positions (n,)."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)
        count = len(embeddings)
        rows = np.ascontiguousarray(embeddings, np.float32)
        batch = llama_cpp.llama_batch_init(count, self._model.width, 1)
        try:
            ctypes.memmove(batch.embd, rows.ctypes.data, rows.nbytes)
            batch.n_tokens = count
            for row, position in enumerate(positions.tolist()):
                batch.pos[row], batch.n_seq_id[row], batch.seq_id[row][0], batch.logits[row] = position, 1, 0, 1
            if status := llama_cpp.llama_decode(self._context, batch):
                raise NextOmniError(f"backbone: llama.cpp failed with status {status} on {count} rows")
            found = llama_cpp.llama_get_embeddings(self._context)
            hidden: Array = np.ctypeslib.as_array(found, (count, self._model.width)).copy()
        finally:
            llama_cpp.llama_batch_free(batch)
        return hidden


class LlamaCppRuntime(Runtime):
    """Reads GGUF files, on the processor alone: no build with another backend was tried."""

    NAME: ClassVar = "llama.cpp"

    def __init__(self) -> None:
        llama_cpp.llama_log_set(_QUIET, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()

    def providers(self) -> list[str]:
        return [CPU]

    def load(self, component: str, file: Path, spec: GraphSpec, provider: str | None = None) -> Session:
        self.choose_provider(component, provider, CPU)
        if component != ComponentName.BACKBONE:
            raise InputError(f"{component}: llama.cpp runs a {ComponentName.BACKBONE} alone; {file} is another component")
        try:
            model = Model(file)
        except InputError as error:
            raise InputError(f"{component}: {error}") from error
        width = next(tensor.dims[-1] for tensor in spec.inputs if tensor.name == Wire.EMBEDDINGS)
        if model.width != width:
            raise InputError(f"{component}: {file} has rows of {model.width} values, expected {width}")
        return LlamaSession(spec, model)


def _lengths(component: str, mask: Array, positions: Array) -> Array:
    """Rows of each sequence, (B,). UsageError: what llama.cpp has no form for."""
    lengths: Array = mask.sum(axis=1)
    if (mask != (np.arange(mask.shape[1]) < lengths[:, None])).any():
        raise UsageError(f"{component}: rows that nothing attends to stand between others; llama.cpp takes them at the end alone")
    if (np.diff(positions, axis=1)[mask[:, 1:]] != 1).any():
        raise UsageError(f"{component}: positions do not follow one another; llama.cpp takes no others")
    return lengths
