"""A pickled `nn.Embedding`, as torch.save writes it, without torch and without running anything
that the file asks for.

The pickle inside is scanned first: a name outside `CLASSES`, or an instruction that could make up a
name, is refused before a single instruction runs. What then runs are our own inert stand-ins; the
table's bytes are never copied, only found.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nextomni_edge.errors import InputError
from nextomni_edge.formats.tensor_file import DTYPES, Location

# an embedding's own pickle has one kilobyte: its numbers stand outside
MAX_PICKLE: Final = 64 * 2**10
STORAGES: Final = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
}
WIDTHS: Final = dict(DTYPES.values())
# Instructions that name code in other ways than GLOBAL does: torch writes none of them.
NAMELESS: Final = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"}


class _Embedding:
    """Stands for torch.nn.Embedding: takes its state as attributes."""

    _parameters: dict[str, Any]


@dataclass(frozen=True)
class _Storage:
    """A run of numbers in the archive."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class _Table:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _Table:
    return _Table(storage, offset, size, stride)


def _rebuild_parameter(table: _Table, *_: object) -> _Table:
    return table


CLASSES: Final[dict[tuple[str, str], Any]] = {
    ("torch.nn.modules.sparse", "Embedding"): _Embedding,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        return CLASSES[module_name, global_name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid
        if (
            kind != "storage"
            or dtype not in STORAGES.values()
            or not isinstance(key, str)
            or type(count) is not int
        ):
            raise ValueError("not a reference to a storage")
        return _Storage(dtype, key, count)


def embedding_table(path: Path) -> Location:
    """Where the weight (V,D) of a pickled embedding stands in its file. InputError: the file is
    anything but that."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _locate(path, archive)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path}: not an archive of torch.save ({error}); files from before torch 1.6 must be"
            " saved again"
        ) from error


def _locate(path: Path, archive: zipfile.ZipFile) -> Location:
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1 or entries[pickles[0]].file_size > MAX_PICKLE:
        raise InputError(
            f"{path}: {len(pickles)} pickles or too large a one, expected one of at most"
            f" {MAX_PICKLE} bytes"
        )
    table = _unpickle(path, archive.read(pickles[0]))
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder") != b"little":
        raise InputError(
            f"{path}: saved on a machine of another byte order; save it again on a"
            " little-endian one"
        )
    data = entries.get(f"{folder}data/{table.storage.key}")
    nbytes = table.size[0] * table.size[1] * WIDTHS[table.storage.dtype]
    if (
        data is None
        or data.compress_type != zipfile.ZIP_STORED
        or data.file_size != table.storage.count * WIDTHS[table.storage.dtype]
    ):
        raise InputError(
            f"{path}: the table's numbers are not in the archive as torch.save stores them"
        )
    if table.offset != 0 or table.stride != (table.size[1], 1) or nbytes != data.file_size:
        raise InputError(
            f"{path}: the table is a view into other numbers, expected it whole; save it again"
            " after .contiguous().clone()"
        )
    return Location(path, _data_offset(path, data), nbytes, table.storage.dtype, table.size)


def _unpickle(path: Path, content: bytes) -> _Table:
    _scan(path, content)
    try:
        found = _Unpickler(io.BytesIO(content)).load()
        table = found._parameters["weight"] if type(found) is _Embedding else None
    except Exception as error:  # a malformed pickle can fail in any way
        raise InputError(f"{path}: not a whole pickle of torch.nn.Embedding ({error})") from error
    sizes = (*table.size, *table.stride, table.offset) if isinstance(table, _Table) else (None,)
    if (
        not isinstance(table, _Table)
        or len(table.size) != 2
        or not all(type(size) is int and 0 <= size < 2**40 for size in sizes)
    ):
        raise InputError(f"{path}: not a pickled torch.nn.Embedding with a weight of two axes")
    return table


def _scan(path: Path, content: bytes) -> None:
    """InputError: an instruction that would reach anything but the expected classes."""
    try:
        instructions = list(pickletools.genops(content))
    except Exception as error:  # the scanner raises by the kind of damage
        raise InputError(f"{path}: not a whole pickle ({error})") from error
    for instruction, argument, _ in instructions:
        if instruction.name in NAMELESS:
            raise InputError(
                f"{path}: the pickle has the instruction {instruction.name}, expected only"
                " an nn.Embedding; none of it was run"
            )
        if instruction.name == "GLOBAL" and tuple(str(argument).split(" ", 1)) not in CLASSES:
            raise InputError(
                f"{path}: the pickle names {str(argument).replace(' ', '.')[:80]!a}, expected only"
                " torch.nn.Embedding and what it is made of; none of it was run"
            )


def _data_offset(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where a stored entry's bytes begin: after its local header, whose name and extra field have
    lengths of their own."""
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(30)
    if len(header) != 30 or header[:4] != b"PK\x03\x04":
        raise InputError(f"{path}: the archive's directory does not fit its contents")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    offset: int = entry.header_offset + 30 + name_length + extra_length
    return offset
