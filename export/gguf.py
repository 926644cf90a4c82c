"""The backbone as a GGUF file for llama.cpp. Weights stream into it as float32 or float16, and
llama.cpp's own quantiser makes the other formats."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from nextomni_edge.bundle import ComponentRecord
from nextomni_edge.bundle.component_format import FORMATS
from nextomni_edge.config import BackboneConfig
from nextomni_edge.errors import InputError, MissingRuntimeError, NextOmniError, UsageError
from nextomni_edge.export.weights import Precision as Stored
from nextomni_edge.export.weights import Transform, WeightStream
from nextomni_edge.formats.gguf import (
    MAX_TEXT,
    TABLE,
    architecture,
    gguf_name,
    metadata,
    tensor_shapes,
)
from nextomni_edge.models.components import Component
from nextomni_edge.spec import Precision

logging.getLogger("gguf").setLevel(logging.ERROR)
import gguf  # noqa: E402

DESCRIPTION: Final = (
    "Backbone of an any-to-any discrete-flow model: rows in, rows out. Embeddings and heads are"
    " ONNX graphs of the same bundle."
)
BLOCK: Final = 32  # values that the narrowest of llama.cpp's block formats rounds together


def write_backbone(
    component: Component, stream: WeightStream, config: BackboneConfig, precision: Precision
) -> ComponentRecord:
    """Write the backbone into the bundle. Only the precision's rounding changes a value.

    UsageError: its rows are not whole blocks, or its attention is causal. MissingRuntimeError:
    quantising needs llama.cpp.
    """
    if config.attention == "causal":
        raise UsageError(
            "backbone of attention 'causal': GGUF is only for 'full' and 'prefix'; export with"
            " --target onnx"
        )
    name = f"{component.name}{FORMATS['gguf'].ending}"
    out = stream.writer.path / name
    if precision in ("float32", "float16"):
        _write(component, stream, config, out, "float16" if precision == "float16" else "float32")
        return ComponentRecord("gguf", name, precision)
    if config.hidden_size % BLOCK or config.mlp_size % BLOCK:
        raise UsageError(
            f"precision {precision}: rows of {config.hidden_size} and {config.mlp_size} values are"
            f" no whole blocks of {BLOCK}; export with --precision float32 or float16"
        )
    whole = out.with_name(f"{name}.part")
    try:
        _write(component, stream, config, whole, "float32")
        _quantise(whole, out, precision)
    finally:
        whole.unlink(missing_ok=True)
    return ComponentRecord("gguf", name, precision)


def _write(
    component: Component, stream: WeightStream, config: BackboneConfig, out: Path, precision: Stored
) -> None:
    sources = {gguf_name(key): tensor for key, tensor in component.weights.items()}
    shapes = tensor_shapes(config)
    dtypes: dict[str, Stored] = {
        name: precision if len(shape) == 2 else "float32" for name, shape in shapes.items()
    }
    if unknown := sources.keys() - shapes.keys():
        raise InputError(
            f"backbone: {', '.join(sorted(unknown))} have no place in a {architecture(config)} file"
        )
    writer = gguf.GGUFWriter(out, architecture(config))
    for key, value in {**metadata(config), **_notes(stream, shapes, precision)}.items():
        if key != "general.architecture":  # the writer's own
            _add(writer, key, value)
    for name, shape in shapes.items():
        dtype = np.dtype(dtypes[name])
        writer.add_tensor_info(name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout  # by the writer's own first call
    with contextlib.closing(writer.fout[0]) as file:
        writer.write_padding(file, file.tell())
        for name, shape in shapes.items():
            if name in sources and (found := stream.checkpoint.shape(sources[name])) != shape:
                raise InputError(f"tensor {sources[name]} has shape {found}, expected {shape}")
            blocks = (
                stream.blocks(sources[name], Transform(dtypes[name]))
                if name in sources
                else _zeros(name, shape, dtypes[name])
            )
            writer.write_padding(file, sum(file.write(block) for block in blocks))


def _notes(
    stream: WeightStream, shapes: dict[str, tuple[int, ...]], precision: Stored
) -> dict[str, str | int]:
    """What llama.cpp's tools show of a file. Its quantiser writes another type."""
    values = sum(math.prod(shape) for name, shape in shapes.items() if name != TABLE)
    scale, letter = (1e9, "B") if values >= 1e9 else (1e6, "M")
    types = {"float32": gguf.LlamaFileType.ALL_F32, "float16": gguf.LlamaFileType.MOSTLY_F16}
    return {
        "general.type": "model",
        "general.name": stream.checkpoint.tokenizer_path.parent.name.encode("ascii", "replace")[
            :MAX_TEXT
        ].decode(),
        "general.description": DESCRIPTION,
        "general.size_label": f"{values / scale:.1f}{letter}",
        "general.file_type": int(types[precision]),
    }


def _zeros(name: str, shape: tuple[int, ...], dtype: Stored) -> Iterator[memoryview]:
    """Tensors without a weight in the model: the table that nothing reads, and biases of a model
    without biases."""
    if name != TABLE and not name.endswith(".bias"):
        raise InputError(f"backbone: the model has no weight for {name}")
    yield np.zeros(shape, dtype).reshape(-1).view(np.uint8).data


def _add(writer: gguf.GGUFWriter, key: str, value: str | int | float | bool) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def _quantise(source: Path, out: Path, precision: Precision) -> None:
    try:
        import llama_cpp
    except ImportError as error:
        raise MissingRuntimeError(
            f"{error}; install it with: pip install 'nextomni-edge[gguf]'"
        ) from error
    from nextomni_edge.runtimes.base import runtime

    runtime("llamacpp")  # sets the library up, and its log aside
    wanted = llama_cpp.llama_model_quantize_default_params()
    wanted.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{precision.upper()}")
    wanted.nthread = 0
    if status := llama_cpp.llama_model_quantize(
        str(source).encode(), str(out).encode(), ctypes.byref(wanted)
    ):
        raise NextOmniError(
            f"backbone: llama.cpp failed with status {status} quantising to {precision}"
        )
