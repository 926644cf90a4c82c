"""A published checkpoint's folder, and a layout's plan for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nextomni_edge.checkpoints.directory import INDEX, MAX_JSON, WEIGHTS, tensor_files
from nextomni_edge.config import MOST
from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.formats.tensor_file import Location, TensorFile

IMAGE_TOKENIZER: Final = "image_tokenizer"
# where published models keep the image tokenizer, below their own folder or named by the user
TOKENIZER_FOLDERS: Final = ("vqvae", "magvitv2", IMAGE_TOKENIZER)


class Source:
    """`config` is the folder's config.json. `tensors` gives the place of each tensor in its
    safetensors files. No weight is read."""

    def __init__(self, path: Path, image_tokenizer: Path | None = None) -> None:
        if not path.is_dir():
            raise InputError(
                f"{path}: no such folder; expected a checkpoint with config.json and {WEIGHTS} (or"
                f" {INDEX})"
            )
        self.path, self._tokenizer_folder = path, image_tokenizer
        self.config: dict[str, Any] = self.json("config.json")
        _refuse_pickles(path)
        self.tensors: dict[str, Location] = {
            name: file.location(name) for name, file in tensor_files(path).items()
        }

    def image_tokenizer(self) -> dict[str, Any] | None:
        """The config.json of the image tokenizer, whose tensors stand in `tensors` from now on,
        below "image_tokenizer/". It is the folder that the user names, or one of TOKENIZER_FOLDERS
        inside this one; None where there is none. InputError: no such folder, or no weights."""
        named = self._tokenizer_folder
        found = named or next(
            (self.path / name for name in TOKENIZER_FOLDERS if (self.path / name).is_dir()), None
        )
        if found is None:
            return None
        files = sorted(found.glob("*.safetensors"))
        if len(files) != 1:
            _refuse_pickles(found)
            raise InputError(
                f"{found}: {len(files)} .safetensors files, expected one, the image tokenizer's"
            )
        file = TensorFile(files[0])
        self.tensors |= {f"{IMAGE_TOKENIZER}/{name}": file.location(name) for name in file.names()}
        config = read_json(found / "config.json", MAX_JSON)
        if not isinstance(config, dict):
            raise InputError(f"{found / 'config.json'}: expected an object")
        return config

    def token_ids(self) -> dict[str, int]:
        """Every token of tokenizer.json with its id. InputError: not such a file."""
        data, path = self.json("tokenizer.json"), self.path / "tokenizer.json"
        model, added = data.get("model"), data.get("added_tokens", [])
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        try:
            found = {str(name): int(index) for name, index in dict(vocabulary or {}).items()}
            found |= {str(token["content"]): int(token["id"]) for token in added}
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not a tokenizer file, its ids cannot be read") from error
        return found

    def agreed_id(self, key: str, spelling: str, size: int) -> int:
        """The id of a special token, which config.json and tokenizer.json must agree on and which
        must lie in a table of `size` rows. InputError otherwise."""
        found, spelled = self.config.get(key), self.token_ids().get(spelling)
        if type(found) is not int or found != spelled:
            raise InputError(
                f"{self.path}: config.json says {key} {str(found)[:40]}, but tokenizer.json has"
                f" {spelling} {'nowhere' if spelled is None else f'at {spelled}'}"
            )
        if not 0 <= found < size:
            raise InputError(
                f"{self.path / 'config.json'}: {key} is {found}, expected an id under {size}"
            )
        return found

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object from a file next to the weights."""
        data = read_json(self.path / name, MAX_JSON)
        if not isinstance(data, dict):
            raise InputError(f"{self.path / name}: found {type(data).__name__}, expected an object")
        return data

    def section(self, *keys: str) -> Mapping[str, Any]:
        """A nested object of config.json. InputError: it is missing."""
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
        if "layers" in key and value > MOST["layers"]:
            raise InputError(
                f"{self.path / 'config.json'}: {key} is {value}, expected 1 to {MOST['layers']}"
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


def _refuse_pickles(path: Path) -> None:
    """InputError where a folder's weights stand in pickles only, which are never read."""
    if not any(path.glob("*.safetensors")) and (found := sorted(path.glob("*.bin"))):
        raise InputError(
            f"{found[0]}: a pickle, which can run code and is not read; convert the weights to"
            " .safetensors first, in their own library, with save_pretrained(...,"
            " safe_serialization=True)"
        )


@dataclass(frozen=True)
class Plan:
    """A layout's plan for a source.

    config: of the whole model, or the sections that a `part` fixes. tensors: for each tensor of
    ours the source tensors that make it up end to end along the first axis, None for zeros. tables:
    metric tables that stand in pickles, with the source tensor that may hold the same numbers.
    rows: for a tensor of ours that is part of one of theirs, its first row and how many follow.
    unused: prefixes of source tensors that are not needed, and why.
    """

    config: dict[str, Any]
    tensors: dict[str, tuple[str | None, ...]]
    unused: dict[str, str] = field(default_factory=dict)
    tables: dict[str, tuple[str, str]] = field(default_factory=dict)
    tokenizer: str | None = None
    part: bool = False
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """`recognises` only looks at config.json and names. `plan` raises InputError where the source
    does not fit the layout."""

    name: str
    recognises: Callable[[Source], bool]
    plan: Callable[[Source], Plan]
