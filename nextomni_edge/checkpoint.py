"""A model directory (config.json, safetensors, tokenizer.json) without torch: one tensor at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.strict_json import read_json
from nextomni_edge.tensor_file import Location, TensorFile

MAX_JSON: Final = 64 * 2**20
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"


class Checkpoint:
    """The `native` layout: read-only and lazy. InputError: anything in the directory that is not what it must be."""

    def __init__(self, path: Path, config: ModelConfig, tensors: Mapping[str, TensorFile]) -> None:
        self.path, self.config = path, config
        self._tensors = tensors

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Read the config and every header; no weight is read."""
        if not path.is_dir():
            raise InputError(f"{path}: no such directory; expected a model directory with config.json and {WEIGHTS}")
        config = ModelConfig.from_json(read_json(path / "config.json", MAX_JSON))
        index = path / INDEX
        tensors = _sharded(path, read_json(index, MAX_JSON)) if index.exists() else _single(path / WEIGHTS)
        return cls(path, config, tensors)

    @property
    def tokenizer_path(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def files(self) -> list[Path]:
        """The files that make the model: config, tokenizer and every safetensors file."""
        return sorted({self.path / "config.json", self.tokenizer_path, *(file.path for file in self._tensors.values())})

    def names(self) -> list[str]:
        return sorted(self._tensors)

    def location(self, name: str) -> Location:
        """Where the tensor's bytes stand, in the dtype they are stored in."""
        return self._file(name).location(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.location(name).shape

    def tensor(self, name: str) -> NDArray[Any]:
        """One tensor, read now; float16 and bfloat16 are widened to float32."""
        return self._file(name).tensor(name)

    def sha256(self) -> dict[str, str]:
        """Digest of each file in `files`, by its name."""
        return {file.name: file_sha256(file) for file in self.files}

    def _file(self, name: str) -> TensorFile:
        if name not in self._tensors:
            raise InputError(f"{self.path}: tensor {name} is missing")
        return self._tensors[name]


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes, in constant memory. InputError: it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _single(path: Path) -> dict[str, TensorFile]:
    file = TensorFile(path)
    return dict.fromkeys(file.names(), file)


def _sharded(path: Path, index: object) -> dict[str, TensorFile]:
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise InputError(f"{path / INDEX}: key 'weight_map' must be an object of tensor name to file name")
    files: dict[str, TensorFile] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors") or Path(shard).name != shard or "\\" in shard:
            raise InputError(
                f"{path / INDEX}: tensor {name} is in {shard!r}, expected the plain name of a .safetensors file beside it"
            )
        if shard not in files:
            files[shard] = TensorFile(path / shard)
    stored = {name: shard for shard, file in files.items() for name in file.names()}
    for name in sorted(weight_map.keys() ^ stored.keys()):
        raise InputError(f"{path / INDEX}: tensor {name} is {'missing in its file' if name in weight_map else 'not listed'}")
    for name, shard in weight_map.items():
        if stored[name] != shard or sum(name in file.names() for file in files.values()) > 1:
            raise InputError(f"{path / INDEX}: tensor {name} must be in {shard}, and only there")
    return {name: files[shard] for name, shard in weight_map.items()}
