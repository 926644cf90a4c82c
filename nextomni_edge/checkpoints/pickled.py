"""A pickled `nn.Embedding` or a plain state dict, as torch.save writes it, read by torch's own
loader, weights only.

Before that the archive and the pickle inside are looked at: entries as torch stores them, a pickle
of no more than such an object's instructions and names. So nothing is unpacked, and nothing grows.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError, reason_of
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.formats.tensor_file import decode

TENSORS: Final = frozenset(
    {
        ("torch._utils", "_rebuild_tensor_v2"),
        ("collections", "OrderedDict"),
        *(("torch", f"{kind}Storage") for kind in ("Float", "Half", "BFloat16", "Double")),
    }
)


@dataclass(frozen=True)
class Kind:
    """What a file may hold, and how much of it: bytes and instructions of the pickle, entries of
    the archive, objects that the pickle refers to again; classes by (module, name)."""

    name: str
    pickle: int
    instructions: int
    entries: int
    memo: int
    classes: frozenset[tuple[str, str]]


# an embedding's own pickle has one kilobyte: its numbers stand outside
EMBEDDING: Final = Kind(
    "torch.nn.Embedding", 64 * 2**10, 1000, 64, 256,
    TENSORS | {
        ("torch.nn.modules.sparse", "Embedding"), ("torch._utils", "_rebuild_parameter"),
        ("__builtin__", "set"), ("builtins", "set"),
    },
)  # fmt: skip
# thirty instructions and six remembered objects for each tensor
STATE_DICT: Final = Kind("dict of tensors", 2 * 2**20, 250_000, 8_192, 65_536, TENSORS)
TUPLES: Final = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
PUTS: Final = frozenset({"BINPUT", "LONG_BINPUT"})
GETS: Final = frozenset({"BINGET", "LONG_BINGET"})
# What torch.save writes for an embedding; all else that a pickle can say is refused.
INSTRUCTIONS: Final = frozenset(
    {
        *TUPLES, *PUTS, *GETS, "PROTO", "STOP", "GLOBAL", "MARK", "REDUCE", "NEWOBJ", "BUILD",
        "BINPERSID", "BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "NONE",
        "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "SETITEM",
        "SETITEMS", "APPEND", "APPENDS",
    }
)  # fmt: skip


@dataclass(frozen=True)
class PickledTable:
    """`raw`: the table's bytes, (rows, bytes of a row) uint8, mapped from the file; `dtype` in
    numpy's names, and "bfloat16"."""

    raw: NDArray[np.uint8]
    dtype: str
    shape: tuple[int, ...]

    def values(self) -> NDArray[Any]:
        """(V,D) without a copy; bfloat16 widened to float32."""
        if self.dtype == "bfloat16":
            return decode(self.raw.tobytes(), self.dtype).reshape(self.shape)
        return self.raw.view(np.dtype(self.dtype))


def embedding_table(path: Path) -> PickledTable:
    """The weight (V,D) of a pickled embedding. InputError: the file is anything but that."""
    _look(path, EMBEDDING)
    return _table(path, _load(path, EMBEDDING))


def state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a plain state dict by name, float32, mapped where they are stored so.
    InputError: the file is anything but that."""
    _look(path, STATE_DICT)
    import torch

    found = _load(path, STATE_DICT)
    if not isinstance(found, dict):
        raise InputError(f"{path}: found {type(found).__name__}, expected a dict of tensors")
    arrays: dict[str, NDArray[Any]] = {}
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise InputError(f"{path}: {str(name)[:60]!a} is no tensor, expected a dict of tensors")
        storage = tensor.untyped_storage().nbytes()
        if tensor.numel() * tensor.element_size() > storage or not tensor.is_floating_point():
            raise InputError(f"{path}: tensor {name[:60]} repeats numbers, or has none of floats")
        arrays[name] = tensor.detach().to(torch.float32).numpy()
    return arrays


def _look(path: Path, kind: Kind) -> None:
    """InputError: the file is no archive of a pickle that the kind allows."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            _scan(path, _pickle(path, archive, kind), kind)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    # NotImplementedError for what zipfile does not know
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: not an archive of torch.save ({error}); files from before torch 1.6 must be"
            " saved again"
        ) from error


def _pickle(path: Path, archive: zipfile.ZipFile, kind: Kind) -> bytes:
    """The pickle in the archive, after a look at every entry."""
    entries = archive.infolist()
    if len(entries) > kind.entries or len({entry.filename for entry in entries}) < len(entries):
        raise InputError(
            f"{path}: {len(entries)} entries in the archive, expected at most {kind.entries}, each"
            " of another name"
        )
    for entry in entries:
        if entry.flag_bits & 1 or entry.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{path}: the entry {entry.filename[:60]!a} is compressed or encrypted; torch.save"
                " stores it as it is"
            )
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > kind.pickle:
        raise InputError(
            f"{path}: {len(pickles)} pickles or too large a one, expected one of at most"
            f" {kind.pickle} bytes"
        )
    return archive.read(pickles[0])


def _scan(path: Path, content: bytes, kind: Kind) -> None:
    """InputError: an instruction that would reach anything but the expected classes, or make more
    of the pickle than stands in it."""
    try:
        instructions = list(pickletools.genops(content))
    except Exception as error:  # the scanner raises by the kind of damage
        raise InputError(f"{path}: not a whole pickle ({error})") from error
    refused = f"expected only {kind.name} and what it is made of; none of it was run"
    for instruction, argument, _ in instructions:
        if instruction.name == "GLOBAL" and _class(argument) not in kind.classes:
            name = str(argument).replace(" ", ".")[:80]
            raise InputError(f"{path}: the pickle names {name!a}, {refused}")
        if instruction.name not in INSTRUCTIONS:
            raise InputError(
                f"{path}: the pickle has the instruction {instruction.name}, {refused}"
            )
    if len(instructions) > kind.instructions or not _memo_is_plain(instructions, kind.memo):
        raise InputError(
            f"{path}: the pickle has {len(instructions)} instructions, or repeats tuples, {refused}"
        )


def _class(argument: object) -> tuple[str, str]:
    """(module, name) of a GLOBAL instruction."""
    module, _, name = str(argument).partition(" ")
    return module, name


def _memo_is_plain(instructions: list[tuple[Any, Any, Any]], most: int) -> bool:
    """Whether the memo is small and no tuple comes out of it: tuples of one tuple, again and again,
    would take for ever to hash."""
    tuples, before = set[int](), ""
    for instruction, argument, _ in instructions:
        if instruction.name in PUTS:
            if argument >= most:
                return False
            if before in TUPLES:
                tuples.add(argument)
        elif instruction.name in GETS and argument in tuples:
            return False
        before = instruction.name
    return True


def _load(path: Path, kind: Kind) -> object:
    """What torch makes of the file, its numbers mapped."""
    import torch

    embedding = [torch.nn.modules.sparse.Embedding]
    with torch.serialization.safe_globals([*(embedding if kind is EMBEDDING else [])]):
        try:
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:  # a malformed file can fail in any way
            raise InputError(f"{path}: not a pickled {kind.name} ({reason_of(error)})") from error


def _table(path: Path, found: object) -> PickledTable:
    import torch

    parameters = vars(found).get("_parameters") if isinstance(found, torch.nn.Embedding) else None
    weight = parameters.get("weight") if isinstance(parameters, dict) else None
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise InputError(f"{path}: not a pickled torch.nn.Embedding with a weight of two axes")
    dtype = str(weight.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float16", "bfloat16", "float64"):
        raise InputError(f"{path}: the table has dtype {dtype}, expected floats")
    whole = weight.untyped_storage().nbytes() == weight.nbytes
    if not weight.is_contiguous() or not whole or not weight.nbytes:
        raise InputError(
            f"{path}: the table is a view into other numbers, expected it whole; save it again"
            " after .contiguous().clone()"
        )
    raw: NDArray[np.uint8] = weight.detach().view(torch.uint8).numpy()
    return PickledTable(raw, dtype, tuple(weight.shape))


def blocks(table: PickledTable, size: int) -> Iterator[memoryview]:
    """The table's bytes in order, at most `size` at a time."""
    flat = table.raw.reshape(-1)
    for start in range(0, flat.size, size):
        yield flat[start : start + size].data
