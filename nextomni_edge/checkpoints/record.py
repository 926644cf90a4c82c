"""import.json: a model directory that refers to the files of a published checkpoint and holds no
weights itself."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.formats.tensor_file import Location, TensorFile

RECORD: Final = "import.json"
MAX_RECORD: Final = 64 * 2**20


@dataclass(frozen=True)
class SourceFile:
    """A file of the imported checkpoint: `path` is absolute, or a plain name next to import.json.
    Its digest and size are those at import."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Piece:
    """A tensor of a file (a key of `ImportRecord.files`), and its dtype at import where that was
    recorded; without a file, zeros."""

    file: str | None
    tensor: str
    dtype: str | None = None


@dataclass(frozen=True)
class Origin:
    """A tensor of ours: its shape, and equally large pieces that make it up along the first axis.
    With `first`, it is the rows of one piece from that row on."""

    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    first: int | None = None


@dataclass(frozen=True)
class ImportRecord:
    """The whole of import.json. `unused` gives each unused source tensor with the reason.

    `part` is set where the source is not a whole model: the config sections that it determines.
    `hub` is the repository and commit that the source was fetched from, as `hf:OWNER/NAME@COMMIT`.
    """

    format: Literal["nextomni-edge-import"]
    version: Literal[1]
    layout: str
    files: dict[str, SourceFile]
    tensors: dict[str, Origin]
    unused: dict[str, str] = field(default_factory=dict)
    tokenizer: str | None = None
    part: dict[str, object] | None = None
    hub: str | None = None

    def to_json(self) -> dict[str, Any]:
        data = dataclasses.asdict(self)
        for origin in data["tensors"].values():
            if origin["first"] is None:
                del origin["first"]
        if self.hub is None:
            del data["hub"]
        return data


Pieces = tuple[Location | None, ...]


def read_record(path: Path) -> ImportRecord:
    """The record of a model directory. InputError: it is no record, or it contradicts itself."""
    record = read_dataclass(ImportRecord, read_json(path / RECORD, MAX_RECORD), str(path / RECORD))
    for name, origin in record.tensors.items():
        for piece in origin.pieces:
            if piece.file is not None and piece.file not in record.files:
                raise InputError(
                    f"{path / RECORD}: tensor {name} is in {piece.file[:80]!r}, which is not listed"
                    " under files"
                )
        if origin.first is not None and (origin.first < 0 or len(origin.pieces) != 1):
            raise InputError(f"{path / RECORD}: tensor {name} must be rows of one tensor from 0 on")
        if not origin.pieces or (
            len(origin.pieces) > 1 and (not origin.shape or origin.shape[0] % len(origin.pieces))
        ):
            raise InputError(
                f"{path / RECORD}: tensor {name} of shape {origin.shape} cannot be made of"
                f" {len(origin.pieces)} pieces"
            )
    if record.tokenizer is not None and record.tokenizer not in record.files:
        raise InputError(
            f"{path / RECORD}: tokenizer {record.tokenizer[:80]!r} is not listed under files"
        )
    return record


def referenced(path: Path, record: ImportRecord) -> dict[str, Path]:
    """The files of a record by their keys. InputError: one is gone, or its size has changed since
    the import."""
    found: dict[str, Path] = {}
    for key, file in record.files.items():
        target = Path(file.path) if Path(file.path).is_absolute() else path / Path(file.path).name
        if not target.is_file():
            raise InputError(
                f"{target}: no such file; {path} refers to it: put it back, or import the model"
                " again"
            )
        if target.stat().st_size != file.size:
            raise InputError(
                f"{target}: {target.stat().st_size} bytes, {file.size} when {path} was imported;"
                " import the model again"
            )
        found[key] = target
    return found


def locate(path: Path, record: ImportRecord) -> dict[str, tuple[Pieces, tuple[int, ...]]]:
    """The place of each tensor's pieces, and its shape. InputError: a file does not hold what the
    record says."""
    files = referenced(path, record)
    wanted = {
        piece.file
        for origin in record.tensors.values()
        for piece in origin.pieces
        if piece.file is not None
    }
    opened = {key: TensorFile(files[key]) for key in wanted}
    found: dict[str, tuple[Pieces, tuple[int, ...]]] = {}
    for name, origin in record.tensors.items():
        pieces = tuple(
            _rows(opened[piece.file].location(piece.tensor), piece.tensor, origin)
            if piece.file
            else None
            for piece in origin.pieces
        )
        for piece, location in zip(origin.pieces, pieces, strict=True):
            if location is not None and location.dtype != (piece.dtype or location.dtype):
                raise InputError(
                    f"{location.file}: tensor {piece.tensor} has dtype {location.dtype},"
                    f" {piece.dtype} when {path} was imported; import the model again"
                )
            if location is not None and math.prod(location.shape) * len(pieces) != math.prod(
                origin.shape
            ):
                share = "" if len(pieces) == 1 else f"one of {len(pieces)} pieces of "
                raise InputError(
                    f"{location.file}: tensor {piece.tensor} has shape {location.shape}, expected"
                    f" {share}{origin.shape}"
                )
        found[name] = (pieces, origin.shape)
    return found


def _rows(location: Location, name: str, origin: Origin) -> Location:
    """The rows that an origin names of a tensor, or all of it. InputError: the tensor has not so
    many, or rows of another size."""
    if origin.first is None:
        return location
    count = origin.shape[0] if origin.shape else 0
    if location.shape[1:] != origin.shape[1:] or origin.first + count > location.shape[0]:
        raise InputError(
            f"{location.file}: tensor {name} has shape {location.shape}, expected rows"
            f" {origin.first} to {origin.first + count} of {origin.shape[1:]}"
        )
    row = location.nbytes // location.shape[0]
    return dataclasses.replace(
        location,
        offset=location.offset + origin.first * row,
        nbytes=count * row,
        shape=origin.shape,
    )
