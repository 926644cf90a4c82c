"""A Core ML package in a bundle: its files, and the checks before a vendor library sees it.

A package is a folder, NAME.mlpackage at the bundle's top, of exactly three files that the manifest
lists one by one. Core ML shares no weights between packages, so a tensor of two components is in
both. A backbone may be cut: NAME.2.mlpackage holds the layers after those of NAME.mlpackage,
NAME.3.mlpackage the layers after them. Each has the interface of a backbone of its layers.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle.component_format import FORMATS, Stored
from nextomni_edge.bundle.coreml_interface import (
    KEPT,
    Form,
    bounds,
    chunk_layers,
    chunk_spec,
    packaged,
    shapes,
    state_shape,
)
from nextomni_edge.bundle.manifest import FileRecord
from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import BITS, Blob, Feature, MilProgram, read_program, unpacked
from nextomni_edge.formats.regular import open_regular, read_regular
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.spec import GraphSpec, TensorSpec, Wire

PACKAGE: Final = FORMATS["coreml"].ending
PACKAGE_INDEX: Final = FORMATS["coreml"].index  # in Apple's format
MODEL: Final = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS: Final = "Data/com.apple.CoreML/weights/weight.bin"
# what our exports hold, and coremltools' own forms of compressed weights
OPERATORS: Final = frozenset({
    "abs", "add", "cast", "clip", "concat", "const", "constexpr_blockwise_shift_scale",
    "constexpr_lut_to_dense", "conv", "conv_transpose", "cos", "equal", "expand_dims", "fill_like",
    "floor", "floor_div", "gather", "gelu", "greater", "greater_equal", "layer_norm", "linear",
    "matmul", "maximum", "mul", "pad", "pixel_shuffle", "pow", "range_1d", "read_state", "real_div",
    "reduce_argmax", "reduce_argmin", "reduce_l2_norm", "reduce_max", "reduce_mean", "reduce_sum",
    "reshape", "scaled_dot_product_attention", "select", "shape", "sign", "silu", "sin",
    "slice_by_index", "split", "sqrt", "square", "squeeze", "stack", "sub", "tile", "transpose",
    "upsample_nearest_neighbor", "write_state",
})  # fmt: skip
MAX_MODEL: Final = 64 * 2**20
# what Core ML has for a spec's dtypes
WIRE_DTYPES: Final = {"float32": "float32", "int64": "int32", "bool": "float32"}
BLOB_FILE: Final = "@model_path/weights/weight.bin"
_BLOBS: Final = {
    1: "float16", 2: "float32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 8: "int4",
    11: "uint4", 13: "uint6", 14: "int32",
}  # fmt: skip
HALF: Final = "_to_fp16"
QUANTIZED: Final = "_quantized"  # coremltools' ending of a weight in integers
PALETTIZED: Final = "_palettized"
_SENTINEL: Final = 0xDEADBEEF
_IDS: Final = (
    "6e0c4d5e-7e0b-5c39-9f0e-2f6f2a7c0001",
    "6e0c4d5e-7e0b-5c39-9f0e-2f6f2a7c0002",
)  # they need only differ within a package


def constant_name(parameter: str) -> str:
    """A program's name for a parameter of its component; `HALF` follows it in float16."""
    return f"p_{parameter.replace('.', '_')}"


def package_index_bytes() -> bytes:
    """A package's own Manifest.json as coremltools writes it: reading a package with it rewrites
    the file, which then holds the same bytes."""
    return (json.dumps(package_index(), indent=4) + "\n").encode()


def package_index() -> dict[str, Any]:
    """The content of a package's own Manifest.json. It never varies, so that the same model gives
    the same bytes."""
    items = (
        ("model.mlmodel", "com.apple.CoreML/model.mlmodel"),
        ("weights", "com.apple.CoreML/weights"),
    )
    entries = {
        key: {
            "author": "com.apple.CoreML",
            "description": f"CoreML {name}",
            "name": name,
            "path": path,
        }
        for key, (name, path) in zip(_IDS, items, strict=True)
    }
    return {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": _IDS[0],
    }


def read_package(package: Path) -> MilProgram:
    """A package's program. InputError names the file and what is wrong with it."""
    path = package / MODEL
    data = read_regular(path, MAX_MODEL)  # weights stand in a file of their own
    try:
        return read_program(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def operator_counts(package: Path) -> dict[str, dict[str, int]]:
    """The operators of all packages of a component, counted by result and type. A result is a
    dtype, "weights" of compressed ones, or "state" where an operator writes one.

    Constants do not count. As documented, float16 operators may run on the Neural Engine, the GPU
    and the CPU, and float32 operators on the last two (coremltools' guide, "Typed Execution
    Workflow Example"). A system decides among these.
    """
    found: dict[str, Counter[str]] = {}
    for part in chunks(package):
        for operation in (
            operation for operation in read_package(part).operations if operation.type != "const"
        ):
            given = operation.outputs[0][1] if operation.outputs else "state"
            gives = "weights" if operation.type.startswith("constexpr_") else given
            found.setdefault(gives, Counter())[operation.type] += 1
    return {gives: dict(counts.most_common()) for gives, counts in sorted(found.items())}


def chunks(package: Path) -> list[Path]:
    """A component's packages in the order in which they run."""
    found = [package]
    while (after := package.with_name(f"{package.stem}.{len(found) + 1}{PACKAGE}")).is_dir():
        found.append(after)
    return found


def check_stored(stored: Stored) -> set[str]:
    """`check_package` of a component."""
    return check_package(stored.path, stored.whole, stored.keeps, stored.files)


def described(package: Path) -> dict[str, Any]:
    """What `inspect` shows for a package besides its files."""
    form = dataclasses.asdict(Form.of(read_package(package)))
    return {"operators": operator_counts(package), "form": form}


def check_package(
    package: Path, spec: GraphSpec, keeps: bool, files: Mapping[str, FileRecord]
) -> set[str]:
    """Names of a component's files besides its first index. `keeps`: its keys and values stay
    inside.

    InputError names the package and the fault.
    """
    parts = chunks(package)
    if len(parts) == 1:
        return _check_one(package, spec, keeps, files)
    found, layers = set[str](), 0
    for part in parts:
        own = read_layers(part)
        found |= _check_one(part, chunk_spec(spec, own), keeps, files) | {
            f"{part.name}/{PACKAGE_INDEX}"
        }
        layers += own
    whole = next(tensor.dims[0] for tensor in spec.inputs if tensor.name == Wire.PAST_KEYS)
    if layers != whole:
        raise InputError(
            f"{package}: {len(parts)} packages have {layers} layers together, expected {whole}"
        )
    return found - {f"{package.name}/{PACKAGE_INDEX}"}


def read_layers(package: Path) -> int:
    """The number of layers in a chunk. InputError: it is no chunk of a backbone."""
    try:
        return chunk_layers(read_package(package))
    except InputError as error:
        raise InputError(f"{package}: {error}") from error


def _check_one(
    package: Path, spec: GraphSpec, keeps: bool, files: Mapping[str, FileRecord]
) -> set[str]:
    found = {f"{package.name}/{name}" for name in (MODEL, WEIGHTS)}
    for name in sorted(found - files.keys()):
        raise InputError(f"{package}: file {name!r} is not listed in the manifest")
    if read_json(package / PACKAGE_INDEX, 2**16) != package_index():
        raise InputError(f"{package}: its {PACKAGE_INDEX} is not the one that export writes")
    program = read_package(package)
    form = Form.of(program)
    if form.keeps != keeps:
        raise InputError(
            f"{package}: {'a' if form.keeps else 'no'} state inside, the manifest says otherwise"
        )
    if keeps and not spec.states:
        raise InputError(f"{package}: a state inside; {spec.name} does not support one")
    dims = spec.dims()
    if form.rows and not (
        "rows" in dims and all(dims["rows"].min <= rows <= dims["rows"].max for rows in form.rows)
    ):
        raise InputError(f"{package}: shapes of {form.rows} rows, which the model does not support")
    own, enumerated = packaged(spec, form), shapes(spec, form)
    for kind, specs, features in (
        ("input", own.inputs, program.inputs),
        ("output", own.outputs, program.outputs),
    ):
        _check_features(package, kind, specs, features, enumerated)
    if keeps:
        _check_states(package, state_shape(spec), program.states)
    _check_operators(package, program)
    for blob, constant in program.stored():
        size = read_blob(package, blob).size
        if size != math.prod(constant.shape):
            raise InputError(
                f"{package}: the constant at byte {blob.offset} has {size} values, its shape"
                f" {constant.shape} needs {math.prod(constant.shape)}"
            )
    return found


def _check_operators(package: Path, program: MilProgram) -> None:
    """A custom operator would be somebody's code."""
    for operation in program.operations:
        if operation.type not in OPERATORS:
            raise InputError(
                f"{package}: operator {operation.type[:80]!a} is none that `export` writes"
            )


def read_blob(package: Path, blob: Blob) -> NDArray[Any]:
    """A constant of the weights, flat. It is mapped, and only values below one byte are read.

    InputError: it is outside the file, or no constant is there.
    """
    path = package / WEIGHTS
    if blob.file != BLOB_FILE:
        raise InputError(f"{package}: weights in {blob.file[:80]!a}, expected {BLOB_FILE}")
    with open_regular(path) as file:
        return _blob(path, file, blob)


def _blob(path: Path, file: BufferedReader, blob: Blob) -> NDArray[Any]:
    size = os.fstat(file.fileno()).st_size
    head = (
        np.memmap(file, "<u4", "r", blob.offset, (8,))
        if 0 <= blob.offset <= size - 64
        else np.zeros(8, "<u4")
    )
    if head[0] != _SENTINEL or int(head[1]) not in _BLOBS:
        raise InputError(f"{path}: no constant at byte {blob.offset}")
    nbytes, start, padding = (int(head[i]) + (int(head[i + 1]) << 32) for i in (2, 4, 6))
    stored = _BLOBS[int(head[1])]
    dtype = np.dtype("uint8" if stored in BITS else stored).newbyteorder("<")
    if start + nbytes > size or nbytes % dtype.itemsize:
        raise InputError(
            f"{path}: the constant at byte {blob.offset} ends at {start + nbytes}, the file at"
            f" {size}"
        )
    data = (
        np.memmap(file, dtype, "r", start, (nbytes // dtype.itemsize,))
        if nbytes
        else np.zeros(0, dtype)
    )
    if stored not in BITS:
        return data
    if padding > 8 * nbytes or (8 * nbytes - padding) % BITS[stored]:
        raise InputError(
            f"{path}: the constant at byte {blob.offset} has {padding} bits too many for {stored}"
        )
    return unpacked(data, stored, (8 * nbytes - padding) // BITS[stored])


def _check_features(
    package: Path,
    kind: str,
    specs: tuple[TensorSpec, ...],
    features: tuple[Feature, ...],
    enumerated: Mapping[str, tuple[tuple[int, ...], ...]],
) -> None:
    found, expected = [feature.name for feature in features], [spec.name for spec in specs]
    if sorted(found) != sorted(expected):
        raise InputError(
            f"{package}: {kind}s {', '.join(map(repr, found))}, expected"
            f" {', '.join(map(repr, expected))}"
        )
    by_name = {feature.name: feature for feature in features}
    for spec in specs:
        feature = by_name[spec.name]
        if feature.dtype != WIRE_DTYPES[spec.dtype]:
            raise InputError(
                f"{package}: {kind} {spec.name}: dtype {feature.dtype}, expected"
                f" {WIRE_DTYPES[spec.dtype]}"
            )
        if kind == "output":
            continue
        if feature.shapes != enumerated.get(spec.name, ()):
            raise InputError(
                f"{package}: input {spec.name}: shapes {feature.shapes}, expected"
                f" {enumerated.get(spec.name, ())}"
            )
        if not feature.shapes and feature.bounds != bounds(spec):
            raise InputError(
                f"{package}: input {spec.name}: sizes {feature.bounds}, expected {bounds(spec)}"
            )


def _check_states(package: Path, shape: tuple[int, ...], features: tuple[Feature, ...]) -> None:
    found = sorted((feature.name, feature.dtype, feature.bounds) for feature in features)
    expected = [(name, "float16", tuple((size, size) for size in shape)) for name in sorted(KEPT)]
    if found != expected:
        raise InputError(f"{package}: states {found}, expected {expected}")
