"""A model directory (config.json, safetensors, tokenizer.json) without torch: one tensor at a
time."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.checkpoints.record import RECORD, Pieces, locate, read_record, referenced
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import open_regular, sha256_of
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.formats.tensor_file import (
    Location,
    TensorFile,
    map_tensor,
    read_tensor,
    read_values,
)
from nextomni_edge.outputs import OutputKind

METRIC_TABLES: Final = "metric_tables.safetensors"
MAX_JSON: Final = 64 * 2**20
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"


def _contents(folder: Path) -> frozenset[str] | None:
    """The files of a model directory of ours: an import record's, or those of the native layout,
    which a config of our own marks."""
    own = frozenset(("config.json", "tokenizer.json"))
    with contextlib.suppress(InputError):
        if (folder / RECORD).exists():
            files = read_record(folder).files.values()
            copied = {file.path for file in files if not Path(file.path).is_absolute()}
            return own | {RECORD, METRIC_TABLES} | copied
        config = read_json(folder / "config.json", MAX_JSON)
        if not isinstance(config, dict) or not {"backbone", "text"} <= config.keys():
            return None  # nor an empty object, which is a config of defaults
        ModelConfig.from_json(config)
        shards = {path.name for path in folder.glob("model-*-of-*.safetensors")}
        return own | {WEIGHTS, INDEX} | shards
    return None


MODEL_DIRECTORY: Final = OutputKind("model directory", "config.json", _contents)


class TensorStore:
    """Tensors by name, read-only and lazy: those of our own files, or of the files that import.json
    refers to."""

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, tuple[Pieces, tuple[int, ...]]],
        files: Mapping[str, Path],
        expected: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self._tensors, self._files, self._expected = tensors, files, expected or {}

    @property
    def files(self) -> list[Path]:
        """The model's files, with those of the imported checkpoint."""
        return sorted(self._files.values())

    def names(self) -> list[str]:
        return sorted(self._tensors)

    def location(self, name: str) -> Location:
        """Where the tensor's bytes stand, in the dtype they are stored in. InputError: in several
        places."""
        pieces, shape = self._stored(name)
        if len(pieces) != 1 or pieces[0] is None:
            raise InputError(
                f"{self.path}: tensor {name} is joined from {len(pieces)} tensors; it cannot be"
                " streamed"
            )
        return dataclasses.replace(pieces[0], shape=shape)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored(name)[1]

    def dtype(self, name: str) -> str:
        """The stored dtype of a tensor that can be streamed, in numpy's names or "bfloat16"."""
        return self.location(name).dtype

    def dtypes(self, name: str) -> set[str]:
        """What the pieces of a tensor are stored in."""
        return {piece.dtype for piece in self._stored(name)[0] if piece is not None}

    def values(self, name: str, start: int, count: int) -> NDArray[Any]:
        """`count` values of a tensor from index `start` on, flat. float16 and bfloat16 are widened
        to float32."""
        return read_values(self.location(name), start, count)

    def tensor(self, name: str) -> NDArray[Any]:
        """One tensor, read now; float16 and bfloat16 are widened to float32."""
        pieces, shape = self._stored(name)
        if len(pieces) == 1 and pieces[0] is not None:
            return read_tensor(pieces[0], name).reshape(shape)
        part = (shape[0] // len(pieces), *shape[1:])
        return np.concatenate(
            [
                (
                    np.zeros(part, np.float32)
                    if piece is None
                    else read_tensor(piece, name).reshape(part)
                )
                for piece in pieces
            ]
        )

    def table(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32. Where the file holds float32, its bytes are only read on use."""
        pieces, shape = self._stored(name)
        if len(pieces) == 1 and pieces[0] is not None and pieces[0].dtype == "float32":
            return map_tensor(pieces[0], name).reshape(shape).view(np.float32)
        return self.tensor(name).astype(np.float32, copy=False)

    def sha256(self) -> dict[str, str]:
        """The digest of each file, by its name. InputError: a file has changed since the import."""
        return {name: self._digest(name) for name in sorted(self._files)}

    def check_referenced(self) -> None:
        """Read every file of the imported checkpoint. InputError: one has changed since the
        import."""
        for name in self._expected:
            self._digest(name)

    def _digest(self, name: str) -> str:
        found = file_sha256(self._files[name])
        if found != self._expected.get(name, found):
            raise InputError(
                f"{self._files[name]}: sha256 {found}, {self._expected[name]} when it was imported;"
                " import the model again"
            )
        return found

    def _stored(self, name: str) -> tuple[Pieces, tuple[int, ...]]:
        if name not in self._tensors:
            raise InputError(f"{self.path}: tensor {name} is missing")
        return self._tensors[name]


class Checkpoint(TensorStore):
    """A whole model's directory. InputError: anything in it is wrong."""

    def __init__(self, store: TensorStore, config: ModelConfig, tokenizer_path: Path) -> None:
        super().__init__(store.path, store._tensors, store._files, store._expected)
        self.config, self.tokenizer_path = config, tokenizer_path

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Read the config and every header; no weight is read."""
        if not path.is_dir():
            raise InputError(
                f"{path}: no such directory; expected a model directory with config.json and"
                f" {WEIGHTS}"
            )
        record = read_record(path) if (path / RECORD).is_file() else None
        if record is not None and record.part is not None:
            raise InputError(
                f"{path}: a part of a model (layout {record.layout}) for `train --init`, expected a"
                " whole model"
            )
        config = ModelConfig.from_json(read_json(path / "config.json", MAX_JSON))
        store = _open_own(path) if record is None else open_import(path)
        if config.backbone.layers > len(store.names()):  # before anything is built of them
            raise InputError(
                f"{path}: backbone.layers is {config.backbone.layers}, its files hold"
                f" {len(store.names())} tensors"
            )
        if record is None:
            return cls(store, config, path / "tokenizer.json")
        return cls(
            store,
            config,
            path / "tokenizer.json" if record.tokenizer is None else store._files[record.tokenizer],
        )


def _open_own(path: Path) -> TensorStore:
    """The `native` layout: the files of a model directory itself."""
    files = tensor_files(path)
    stored = {
        name: ((file.location(name),), file.location(name).shape) for name, file in files.items()
    }
    own = {name: path / name for name in ("config.json", "tokenizer.json")}
    return TensorStore(path, stored, own | {file.path.name: file.path for file in files.values()})


def open_import(path: Path) -> TensorStore:
    """The tensors of an imported model or part of one. InputError: one of its files is gone or has
    changed."""
    record = read_record(path)
    own = {name: path / name for name in ("config.json", RECORD) if (path / name).is_file()}
    expected = {key: file.sha256 for key, file in record.files.items()}
    return TensorStore(path, locate(path, record), own | referenced(path, record), expected)


def tensor_files(path: Path) -> dict[str, TensorFile]:
    """The file of each tensor of a folder, by the tensor's name: model.safetensors, or shards as
    their index says."""
    index = path / INDEX
    return _sharded(path, read_json(index, MAX_JSON)) if index.exists() else _single(path / WEIGHTS)


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes, in constant memory. InputError: it cannot be read."""
    try:
        with open_regular(path) as file:
            return sha256_of(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _single(path: Path) -> dict[str, TensorFile]:
    file = TensorFile(path)
    return dict.fromkeys(file.names(), file)


def _sharded(path: Path, index: object) -> dict[str, TensorFile]:
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise InputError(
            f"{path / INDEX}: key 'weight_map' must be an object of tensor name to file name"
        )
    files: dict[str, TensorFile] = {}
    for name, shard in weight_map.items():
        if (
            not isinstance(shard, str)
            or not shard.endswith(".safetensors")
            or Path(shard).name != shard
            or "\\" in shard
        ):
            raise InputError(
                f"{path / INDEX}: tensor {name} is in {shard!r}, expected the plain name of a"
                " .safetensors file next to it"
            )
        if shard not in files:
            files[shard] = TensorFile(path / shard)
    stored = {name: shard for shard, file in files.items() for name in file.names()}
    for name in sorted(weight_map.keys() ^ stored.keys()):
        raise InputError(
            f"{path / INDEX}: tensor {name} is"
            f" {'missing in its file' if name in weight_map else 'not listed'}"
        )
    for name, shard in weight_map.items():
        if stored[name] != shard or sum(name in file.names() for file in files.values()) > 1:
            raise InputError(f"{path / INDEX}: tensor {name} must be in {shard}, and only there")
    return {name: files[shard] for name, shard in weight_map.items()}
