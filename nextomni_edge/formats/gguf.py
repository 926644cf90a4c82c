"""A backbone as a GGUF file for llama.cpp: what export writes, and the checks before the library
sees a byte.

The architecture is `qwen2`, or `qwen3` where queries and keys have norms. Both always compute a
vocabulary's logits. A table of 32 rows of zeros serves as the vocabulary. The format is that of
ggml's docs/gguf.md, version 3.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from nextomni_edge.config import BackboneConfig
from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.spec import ComponentName, GraphSpec, Precision

MAGIC: Final = b"GGUF"
VERSION: Final = 3
ALIGNMENT: Final = 32
DUMMY_ROWS: Final = 32
TABLE: Final = "token_embd.weight"
MAX_TEXT: Final = 256
# Ours: the last part of a name in the model, and what it is called here.
LAYER_TENSORS: Final = {
    "input_layernorm.weight": "attn_norm.weight", "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.q_proj.bias": "attn_q.bias", "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.k_proj.bias": "attn_k.bias", "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.v_proj.bias": "attn_v.bias", "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
}  # fmt: skip
TYPES: Final = {  # ggml's number → (name, values in a block, bytes of a block)
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
}  # fmt: skip
# What a matrix may be stored as: llama.cpp gives some more bits, and rows that are no whole blocks
# another type.
MATRICES: Final[Mapping[Precision, frozenset[str]]] = {
    "float32": frozenset({"F32"}),
    "float16": frozenset({"F16"}),
    "q8_0": frozenset({"Q8_0", "F16"}),
    "q6_k": frozenset({"Q6_K", "Q8_0", "F16"}),
    "q4_k_m": frozenset({"Q4_K", "Q5_0", "Q5_K", "Q6_K", "Q8_0", "F16"}),
    "q4_0": frozenset({"Q4_0", "Q5_0", "Q6_K", "Q8_0", "F16"}),
}
# the types that its keys have: llama.cpp takes no other width for one
_NUMBERS: Final = {4: "<I", 6: "<f", 7: "<?"}
_TEXT: Final = 8
# Next to what stands in `metadata`: what export and llama.cpp's quantiser note down for readers.
# Nothing is computed from it.
_NOTES: Final = frozenset(
    {
        "general.type", "general.name", "general.description", "general.size_label",
        "general.file_type", "general.quantization_version",
    }
)  # fmt: skip


@dataclass(frozen=True)
class GgufTensor:
    """A tensor in the file: its type's name, its shape (rows, width) in numpy's order, its place
    and its size in bytes."""

    type: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class GgufFile:
    """A file's key-value pairs and tensors, without their weights."""

    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


def architecture(config: BackboneConfig) -> str:
    """llama.cpp's name for a backbone's kind."""
    return "qwen3" if config.qk_norm else "qwen2"


def metadata(config: BackboneConfig) -> dict[str, str | int | float | bool]:
    """The key-value pairs that a backbone's file has."""
    sizes = {
        "block_count": config.layers,
        "context_length": config.max_positions,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.mlp_size,
        "attention.head_count": config.query_heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.layer_norm_rms_epsilon": float(np.float32(config.rms_norm_eps)),
        "rope.freq_base": float(np.float32(config.rope_base)),
        "attention.causal": False,
        "vocab_size": DUMMY_ROWS,
    }
    if config.head_size is not None:
        sizes |= {f"attention.{name}_length": config.head_size for name in ("key", "value")}
    kind = architecture(config)
    named = {f"{kind}.{key}": value for key, value in sizes.items()}
    return {"general.architecture": kind, "tokenizer.ggml.model": "no_vocab", **named}


def tensor_shapes(config: BackboneConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a backbone's file; a matrix is (out, in). Zeros serve as
    biases where a model of kind `qwen2` has none."""
    hidden, inner = config.hidden_size, config.mlp_size
    query, cache = config.query_heads * config.head_dim, config.kv_heads * config.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (hidden,), "ffn_norm.weight": (hidden,),
        "attn_q.weight": (query, hidden), "attn_k.weight": (cache, hidden),
        "attn_v.weight": (cache, hidden),
        "attn_output.weight": (hidden, query), "ffn_gate.weight": (inner, hidden),
        "ffn_up.weight": (inner, hidden), "ffn_down.weight": (hidden, inner),
    }  # fmt: skip
    if config.qk_norm:
        layer |= {f"attn_{name}_norm.weight": (config.head_dim,) for name in ("q", "k")}
    else:
        layer |= {"attn_q.bias": (query,), "attn_k.bias": (cache,), "attn_v.bias": (cache,)}
    layers = {
        f"blk.{index}.{name}": shape
        for index in range(config.layers)
        for name, shape in layer.items()
    }
    return {TABLE: (DUMMY_ROWS, hidden), "output_norm.weight": (hidden,), **layers}


def gguf_name(name: str) -> str:
    """The file's name for a weight of the backbone module, such as `layers.3.mlp.up_proj.weight`.
    KeyError: it has none."""
    if name == "norm.weight":
        return "output_norm.weight"
    _, index, rest = name.split(".", 2)
    return f"blk.{index}.{LAYER_TENSORS[rest]}"


def check_gguf(
    path: Path, spec: GraphSpec, config: BackboneConfig, precision: Precision
) -> set[str]:
    """Check a file, which no other file belongs to. InputError names the file and its difference
    from the config and the precision."""
    if spec.name != ComponentName.BACKBONE:
        raise InputError(
            f"{path}: component {spec.name} as GGUF, which only holds a {ComponentName.BACKBONE}"
        )
    if config.attention == "causal":
        raise InputError(
            f"{path}: GGUF for a backbone of attention 'causal', expected 'full' or 'prefix'"
        )
    try:
        found = read_gguf(path)
        _check_metadata(found.metadata, metadata(config))
        _check_tensors(found.tensors, tensor_shapes(config), precision)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return set()


def read_gguf(path: Path) -> GgufFile:
    """Everything before the weights. InputError: cut off, not GGUF, or with sizes that no backbone
    has."""
    opened = open_regular(path)
    try:
        with opened as file:
            if (magic := file.read(4)) != MAGIC:
                raise InputError(f"begins with {magic!r}, expected {MAGIC!r}")
            if (version := _number(file, "<I")) != VERSION:
                raise InputError(
                    f"GGUF version {version}, this release reads {VERSION}; export the model again"
                )
            tensors, pairs = _number(file, "<Q"), _number(file, "<Q")
            if tensors > 2**16 or pairs > 64:
                raise InputError(
                    f"{tensors} tensors and {pairs} keys, at most {2**16} and 64 are read"
                )
            found = dict(_pair(file) for _ in range(pairs))
            headers = [_header(file) for _ in range(tensors)]
            start, size = -(-file.tell() // ALIGNMENT) * ALIGNMENT, path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if len(found) != pairs or len(dict(headers)) != tensors:
        raise InputError("a key or a tensor stands in it twice")
    return GgufFile(found, _placed(headers, start, size))


def _number(file: IO[bytes], form: str) -> Any:
    data = file.read(struct.calcsize(form))
    if len(data) != struct.calcsize(form):
        raise InputError("cut off inside its header")
    return struct.unpack(form, data)[0]


def _text(file: IO[bytes]) -> str:
    length = _number(file, "<Q")
    if length > MAX_TEXT:
        raise InputError(f"a text of {length} bytes in its header, at most {MAX_TEXT} are read")
    data = file.read(length)
    if len(data) != length:
        raise InputError("cut off inside its header")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError(f"a text that is not ASCII in its header: {data[:40]!r}") from error


def _pair(file: IO[bytes]) -> tuple[str, Any]:
    key, kind = _text(file), _number(file, "<I")
    if kind == _TEXT:
        return key, _text(file)
    if kind not in _NUMBERS:
        raise InputError(f"key {key!a}: a value of type {kind}, expected a text or a number")
    return key, _number(file, _NUMBERS[kind])


def _header(file: IO[bytes]) -> tuple[str, GgufTensor]:
    name, rank = _text(file), _number(file, "<I")
    if not 1 <= rank <= 2:
        raise InputError(f"tensor {name!a}: rank {rank}, expected 1 or 2")
    # ggml counts the axes from the last
    shape = tuple(_number(file, "<Q") for _ in range(rank))[::-1]
    kind, offset = _number(file, "<I"), _number(file, "<Q")
    if kind not in TYPES:
        names = ", ".join(name for name, _, _ in TYPES.values())
        raise InputError(f"tensor {name!a}: type {kind}, expected one of {names}")
    if any(not 0 < size < 2**32 for size in shape) or offset >= 2**62:
        raise InputError(f"tensor {name!a}: shape {shape} at byte {offset} is none")
    label, values, width = TYPES[kind]
    if shape[-1] % values:
        raise InputError(
            f"tensor {name!a}: rows of {shape[-1]} values are no whole blocks of {label}, which"
            f" have {values}"
        )
    return name, GgufTensor(label, shape, offset, math.prod(shape) // values * width)


def _placed(headers: list[tuple[str, GgufTensor]], start: int, size: int) -> dict[str, GgufTensor]:
    """The tensors with their places in the file. They must follow one another without a gap, each
    at a whole alignment."""
    found, at = dict[str, GgufTensor](), start
    for name, tensor in sorted(headers, key=lambda header: header[1].offset):
        if start + tensor.offset != at:
            raise InputError(
                f"tensor {name!a} begins at byte {start + tensor.offset}, expected {at}"
            )
        found[name] = GgufTensor(tensor.type, tensor.shape, at, tensor.nbytes)
        at += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    if at != size:
        raise InputError(f"tensors end at byte {at}, the file at {size}")
    return found


def _check_metadata(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for key in sorted(found.keys() - expected.keys() - _NOTES):
        raise InputError(f"key {key!a} is none that export writes")
    for key, value in expected.items():
        if type(found.get(key)) is not type(value) or found[key] != value:
            raise InputError(f"key {key}: {str(found.get(key))[:80]!a}, expected {value!r}")


def _check_tensors(
    found: Mapping[str, GgufTensor], expected: Mapping[str, tuple[int, ...]], precision: Precision
) -> None:
    for name in sorted(found.keys() ^ expected.keys()):
        raise InputError(f"tensor {name!a} is {'unknown' if name in found else 'missing'}")
    for name, shape in expected.items():
        tensor = found[name]
        if tensor.shape != shape:
            raise InputError(f"tensor {name}: shape {tensor.shape}, expected {shape}")
        allowed = MATRICES[precision] if len(shape) == 2 else frozenset({"F32"})
        if tensor.type not in allowed:
            raise InputError(
                f"tensor {name}: {tensor.type}, expected {' or '.join(sorted(allowed))} in"
                f" precision {precision}"
            )
