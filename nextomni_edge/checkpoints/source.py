"""A published checkpoint's folder, and what a layout makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextomni_edge.checkpoints.directory import INDEX, MAX_JSON, WEIGHTS, tensor_files
from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.formats.tensor_file import Location


class Source:
    """`config` is the folder's config.json, `tensors` where each tensor of its safetensors files
    stands; no weight is read."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise InputError(
                f"{path}: no such folder; expected a checkpoint with config.json and {WEIGHTS} (or"
                f" {INDEX})"
            )
        self.path = path
        self.config: dict[str, Any] = self.json("config.json")
        self.tensors: dict[str, Location] = {
            name: file.location(name) for name, file in tensor_files(path).items()
        }

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object beside the weights."""
        data = read_json(self.path / name, MAX_JSON)
        if not isinstance(data, dict):
            raise InputError(f"{self.path / name}: found {type(data).__name__}, expected an object")
        return data

    def section(self, *keys: str) -> Mapping[str, Any]:
        """A nested object of config.json. InputError: it is not there."""
        found: Any = self.config
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise InputError(f"{self.path / 'config.json'}: no object {'.'.join(keys)!r}")
        return found

    def size(self, section: Mapping[str, Any], key: str, default: int | None = None) -> int:
        """A positive whole number of a section; null is absent. InputError: missing without a
        default, or no such number."""
        value = default if section.get(key) is None else section[key]
        if type(value) is not int or not 1 <= value < 2**30:
            raise InputError(
                f"{self.path / 'config.json'}: {key} is {str(value)[:40]!r}, expected a positive"
                " whole number"
            )
        return value

    def number(self, section: Mapping[str, Any], key: str, default: float) -> float:
        """A positive number of a section, or the default where it is not given."""
        value = default if section.get(key) is None else section[key]
        if type(value) not in (int, float) or not 0.0 < value < 1e30:
            raise InputError(
                f"{self.path / 'config.json'}: {key} is {str(value)[:40]!r}, expected a positive"
                " number"
            )
        return float(value)

    def shape(self, name: str) -> tuple[int, ...]:
        """InputError: the checkpoint has no such tensor."""
        if name not in self.tensors:
            raise InputError(f"{self.path}: tensor {name} is missing")
        return self.tensors[name].shape

    def count(self, prefix: str) -> int:
        """How many numbers follow a prefix in the tensors' names: layers, blocks."""
        found = {
            name.removeprefix(prefix).split(".")[0]
            for name in self.tensors
            if name.startswith(prefix)
        }
        return sum(name.isdecimal() for name in found)


@dataclass(frozen=True)
class Plan:
    """What a layout makes of a source.

    config: of the whole model, or the sections that a `part` fixes. tensors: for each tensor of
    ours the source tensors that make it up end to end along the first axis, None for zeros. tables:
    metric tables that stand in pickles, with the source tensor that may hold the same numbers.
    unused: prefixes of source tensors that are not needed, and why.
    """

    config: dict[str, Any]
    tensors: dict[str, tuple[str | None, ...]]
    unused: dict[str, str] = field(default_factory=dict)
    tables: dict[str, tuple[str, str]] = field(default_factory=dict)
    tokenizer: str | None = None
    part: bool = False


@dataclass(frozen=True)
class Layout:
    """`recognises` looks at config.json and names alone; `plan` refuses with an InputError what the
    layout cannot be."""

    name: str
    recognises: Callable[[Source], bool]
    plan: Callable[[Source], Plan]
