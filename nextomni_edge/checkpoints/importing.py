"""From a published checkpoint's folder to a model directory that refers to its files."""

from __future__ import annotations

import dataclasses
import difflib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.checkpoints.directory import (
    METRIC_TABLES,
    MODEL_DIRECTORY,
    Checkpoint,
    file_sha256,
    open_import,
)
from nextomni_edge.checkpoints.layouts.dream import DREAM
from nextomni_edge.checkpoints.layouts.encoders import CLIP, SIGLIP, WHISPER
from nextomni_edge.checkpoints.layouts.fudoki import FUDOKI
from nextomni_edge.checkpoints.layouts.llada import LLADA
from nextomni_edge.checkpoints.layouts.llama import LLAMA, QWEN2, QWEN3
from nextomni_edge.checkpoints.layouts.native import NATIVE
from nextomni_edge.checkpoints.layouts.omnidiffusion import OMNIDIFFUSION
from nextomni_edge.checkpoints.layouts.omnivoice import OMNIVOICE
from nextomni_edge.checkpoints.pickled import PickledTable, blocks, embedding_table
from nextomni_edge.checkpoints.record import RECORD, ImportRecord, Origin, Piece, SourceFile
from nextomni_edge.checkpoints.source import PART_FOLDERS, Layout, Plan, Source
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.formats.tensor_file import (
    FLOATS,
    Location,
    all_finite,
    write_tensors,
)
from nextomni_edge.outputs import check_output_directory, output_directory

LAYOUTS: Final = {
    layout.name: layout
    for layout in (
        FUDOKI,
        LLADA,
        DREAM,
        OMNIDIFFUSION,
        OMNIVOICE,
        QWEN2,
        QWEN3,
        LLAMA,
        CLIP,
        SIGLIP,
        WHISPER,
        NATIVE,
    )
}
# masked models by their model_type that share a name or a sampler with those that are read
UNSUPPORTED: Final = {
    "llada2_moe": "LLaDA2 is a mixture-of-experts block-diffusion model",
    "llada_moe": "LLaDA-MoE is a mixture-of-experts model",
    "llava_llada": "LLaDA-V reads images with a vision tower",
    "dimple": "Dimple reads images with a vision tower",
    "sdar": "SDAR is a block-diffusion model",
    "sdar_moe": "SDAR is a mixture-of-experts block-diffusion model",
    "bd3lm": "BD3-LM is a block-diffusion model",
}
CONVERTED: Final = "converted.safetensors"  # tensors out of pickles
BLOCK: Final = 2**24  # bytes compared at a time
Shape = tuple[int, ...]
Expected = Callable[[ModelConfig], Mapping[str, Shape]]  # the tensors of a config's network


@dataclass(frozen=True)
class ImportReport:
    """What was written. `referenced` bytes stay in the source's files, `copied` bytes are in the
    model directory."""

    out: Path
    layout: str
    tensors: int
    parameters: int
    referenced: int
    copied: int
    unused: dict[str, str]


def import_model(
    source: Path,
    out: Path,
    expected: Expected,
    layout: str = "auto",
    copy: bool = False,
    overwrite: bool = False,
    image_tokenizer: Path | None = None,
    hub: str | None = None,
    parts: Mapping[str, Path] | None = None,
) -> ImportReport:
    """Write a model directory at `out`: a config, and import.json with the source's tensors and the
    digests of its files.

    Every tensor of the source is used, or listed as unused with the reason. Nothing is written
    unless every tensor of the model exists in the config's shape. `copy` copies the files too.
    `image_tokenizer` is the folder of a model's image tokenizer, where that is published
    separately; `parts` has those of other parts by name. `hub` names where the source came from,
    and is recorded. UsageError: unknown layout or part, `out` exists. InputError: the source is
    wrong.
    """
    _check_name(layout)
    folders = {name: path.resolve() for name, path in (parts or {}).items()}
    _check_parts(folders)
    given = [source, *([image_tokenizer] if image_tokenizer else []), *folders.values()]
    check_output_directory(out, MODEL_DIRECTORY, given, overwrite)
    opened = Source(source.resolve(), image_tokenizer and image_tokenizer.resolve(), folders)
    name, made = _choose(opened, layout)
    shapes = _shapes(made, expected)
    origins = {
        ours: _origin(opened, ours, pieces, shapes[ours], made.rows.get(ours))
        for ours, pieces in made.tensors.items()
    }
    unused = _unused(opened, name, made)
    with output_directory(out, MODEL_DIRECTORY, given, overwrite) as part:
        origins, notes = _tables(opened, made, shapes, origins, part)
        origins |= _made(made, shapes, part)
        record = _record(opened, name, made, origins, unused | notes, part, copy)
        record = dataclasses.replace(record, hub=hub)
        if not made.part:
            _write_json(part / "config.json", ModelConfig.from_json(made.config).to_json())
        _write_json(part / RECORD, record.to_json())
        store = open_import(part) if made.part else Checkpoint.open(part)
        parameters = sum(int(np.prod(store.shape(tensor))) for tensor in store.names())
    own = sum(file.size for file in record.files.values() if not Path(file.path).is_absolute())
    away = sum(file.size for file in record.files.values()) - own
    return ImportReport(out, name, len(origins), parameters, away, own, dict(record.unused))


def _check_name(name: str) -> None:
    if name != "auto" and name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, 1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"expected one of auto, {', '.join(LAYOUTS)}"
        )
        raise UsageError(f"layout {name!r}: {hint}")


def _check_parts(parts: Mapping[str, Path]) -> None:
    for name in parts:
        if name not in PART_FOLDERS:
            near = difflib.get_close_matches(name, PART_FOLDERS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(PART_FOLDERS)}"
            raise UsageError(f"part {name!r}: {hint}")


def _choose(source: Source, name: str) -> tuple[str, Plan]:
    """The layout asked for, or the only one that recognises the source, and its plan."""
    if name != "auto":
        return name, LAYOUTS[name].plan(source)
    fitting: list[Layout] = [layout for layout in LAYOUTS.values() if layout.recognises(source)]
    kind = source.config.get("model_type")
    if isinstance(kind, str) and kind.lower() in UNSUPPORTED:
        raise InputError(
            f"{source.path}: {UNSUPPORTED[kind.lower()]}: not supported; layouts are"
            f" {', '.join(LAYOUTS)}"
        )
    if len(fitting) != 1:
        raise InputError(
            f"{source.path}: config.json has model_type {str(kind)[:40]!r}, which tells no layout;"
            " name one with --layout"
        )
    return fitting[0].name, fitting[0].plan(source)


def _shapes(plan: Plan, expected: Expected) -> dict[str, Shape]:
    """The shape of every tensor that the plan makes: all tensors of a network, or those of a
    part."""
    shapes = dict(expected(ModelConfig.from_json(plan.config)))
    made = plan.tensors.keys() | plan.tables.keys() | plan.made.keys()
    for name in sorted(made - shapes.keys() if plan.part else made ^ shapes.keys()):
        raise InputError(
            f"tensor {name} of the model is not what this layout makes; the source is another kind"
            " of model"
        )
    return {name: shapes[name] for name in made}


def _origin(
    source: Source,
    name: str,
    pieces: tuple[str | None, ...],
    shape: Shape,
    rows: tuple[int, int] | None,
) -> Origin:
    """InputError: a source tensor is missing, has another shape, or lacks the `rows` (first,
    count). Axes of size one do not count."""
    part = shape if len(pieces) == 1 else (shape[0] // len(pieces), *shape[1:])
    for piece in pieces:
        if piece is None:
            continue
        if piece not in source.tensors:
            raise InputError(
                f"{source.path}: tensor {piece} is missing, expected with shape {part} (the model's"
                f" {name})"
            )
        if (dtype := source.tensors[piece].dtype) not in FLOATS:
            raise InputError(
                f"{source.path}: tensor {piece} has dtype {dtype}, expected one of"
                f" {', '.join(FLOATS)}"
            )
        found = source.tensors[piece].shape
        if rows is not None and found[:1] >= (sum(rows),):
            found = (rows[1], *found[1:])
        if [size for size in found if size != 1] != [size for size in part if size != 1]:
            raise InputError(
                f"{source.path}: tensor {piece} has shape {found}, config.json asks for {part} (the"
                f" model's {name})"
            )
    return Origin(
        shape,
        tuple(
            Piece(None, "")
            if piece is None
            else Piece(_key(source, piece), piece.split("/")[-1], source.tensors[piece].dtype)
            for piece in pieces
        ),
        None if rows is None else rows[0],
    )


def _key(source: Source, piece: str) -> str:
    """The record's name for the file that holds a tensor: the image tokenizer's may be called as
    the model's own."""
    file = source.tensors[piece].file
    return file.name if file.parent == source.path else f"{piece.split('/')[0]}-{file.name}"


def _unused(source: Source, layout: str, plan: Plan) -> dict[str, str]:
    """The source's other tensors, each with the reason why it is unused. InputError: the layout
    does not know one."""
    used = {piece for pieces in plan.tensors.values() for piece in pieces}
    found: dict[str, str] = {}
    for name in sorted(source.tensors.keys() - used):
        reason = next(
            (reason for prefix, reason in plan.unused.items() if name.startswith(prefix)), None
        )
        if reason is None:
            raise InputError(
                f"{source.path}: tensor {name} is not known to layout {layout}; is it another kind"
                " of model?"
            )
        found[name] = reason
    return found


def _tables(
    source: Source,
    plan: Plan,
    shapes: Mapping[str, Shape],
    origins: Mapping[str, Origin],
    part: Path,
) -> tuple[dict[str, Origin], dict[str, str]]:
    """Metric tables out of their pickles: a tensor with the same numbers where there is one, else a
    converted copy."""
    found, notes, converted = dict(origins), dict[str, str](), dict[str, NDArray[Any]]()
    for name, (file, twin) in plan.tables.items():
        table, shape = embedding_table(source.path / file), shapes[name]
        if [size for size in table.shape if size != 1] != [size for size in shape if size != 1]:
            raise InputError(
                f"{source.path / file}: the table has shape {table.shape}, config.json asks for"
                f" {shape} (the model's {name})"
            )
        if _same(table, source.tensors[twin]):
            found[name] = Origin(shape, (Piece(source.tensors[twin].file.name, twin, table.dtype),))
            notes[file] = f"the same numbers as {twin}"
        else:
            converted[name] = table.values()
            if not all_finite(converted[name]):
                raise InputError(f"{source.path / file}: the table has values that are not finite")
            found[name] = Origin(shape, (Piece(METRIC_TABLES, name),))
            notes[file] = f"converted to {METRIC_TABLES}"
    if converted:
        with (part / METRIC_TABLES).open("wb") as out:
            write_tensors(out, converted)
    return found, notes


def _made(plan: Plan, shapes: Mapping[str, Shape], part: Path) -> dict[str, Origin]:
    """Write the tensors that stand in no safetensors file next to the config. InputError: one has
    another shape than the config's."""
    for name, values in plan.made.items():
        if values.shape != shapes[name]:
            raise InputError(
                f"tensor {name} of the model has shape {values.shape}, its config asks for"
                f" {shapes[name]}"
            )
    if plan.made:
        with (part / CONVERTED).open("wb") as out:
            write_tensors(out, plan.made)
    return {
        name: Origin(values.shape, (Piece(CONVERTED, name, str(values.dtype)),))
        for name, values in plan.made.items()
    }


def _same(table: PickledTable, tensor: Location) -> bool:
    """Whether the two hold the same numbers in the same dtype."""
    if table.dtype != tensor.dtype or table.raw.nbytes != tensor.nbytes:
        return False
    with open_regular(tensor.file) as file:
        file.seek(tensor.offset)
        return all(file.read(len(block)) == block for block in blocks(table, BLOCK))


def _record(
    source: Source,
    layout: str,
    plan: Plan,
    origins: dict[str, Origin],
    unused: dict[str, str],
    part: Path,
    copy: bool,
) -> ImportRecord:
    names = {
        piece.file
        for origin in origins.values()
        for piece in origin.pieces
        if piece.file is not None
    }
    names |= {plan.tokenizer} if plan.tokenizer else set()
    places = {_key(source, name): location.file for name, location in source.tensors.items()}
    files: dict[str, SourceFile] = {}
    for name in sorted(names):
        own_file = name in (METRIC_TABLES, CONVERTED)
        original = part / name if own_file else places.get(name, source.path / name)
        if not original.is_file():
            raise InputError(f"{original}: no such file, expected next to the weights")
        if copy and original.parent != part:
            shutil.copyfile(original, part / name)
        own = copy or original.parent == part
        files[name] = SourceFile(
            name if own else str(original), file_sha256(original), original.stat().st_size
        )
    return ImportRecord(
        "nextomni-edge-import", 1, layout, files, origins, unused, plan.tokenizer,
        dict(plan.config) if plan.part else None
    )  # fmt: skip


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
