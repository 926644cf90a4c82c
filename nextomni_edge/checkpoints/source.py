"""A published checkpoint's folder, and a layout's plan for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from nextomni_edge.checkpoints.directory import INDEX, MAX_JSON, WEIGHTS, tensor_files
from nextomni_edge.config import MOST
from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.formats.tensor_file import Location, TensorFile

IMAGE_TOKENIZER: Final = "image_tokenizer"
# part → where published models keep it, below their own folder or named by the user
PART_FOLDERS: Final[Mapping[str, tuple[str, ...]]] = {
    IMAGE_TOKENIZER: ("vqvae", "magvitv2", IMAGE_TOKENIZER),
    "sensevoice": ("SenseVoiceSmall", "sensevoice"),
    "speech_tokenizer": ("glm-4-voice-tokenizer", "glm4voice_tokenizer", "speech_tokenizer"),
    "speech_decoder": ("glm-4-voice-decoder", "glm4voice_decoder", "speech_decoder"),
    "audio_tokenizer": ("audio_tokenizer", "higgs-audio-v2-tokenizer"),
}


class Source:
    """`config` is the folder's config.json. `tensors` gives the place of each tensor in its
    safetensors files. No weight is read."""

    def __init__(
        self,
        path: Path,
        image_tokenizer: Path | None = None,
        parts: Mapping[str, Path] | None = None,
    ) -> None:
        if not path.is_dir():
            raise InputError(
                f"{path}: no such folder; expected a checkpoint with config.json and {WEIGHTS} (or"
                f" {INDEX})"
            )
        self.path, self._tokenizer_folder = path, image_tokenizer
        self._parts = dict(parts or {})
        self.config: dict[str, Any] = self.json("config.json")
        _refuse_pickles(path)
        self.tensors: dict[str, Location] = {
            name: file.location(name) for name, file in tensor_files(path).items()
        }

    def image_tokenizer(self) -> dict[str, Any] | None:
        """The config.json of the image tokenizer, whose tensors stand in `tensors` from now on,
        below "image_tokenizer/". It is the folder that the user names, or one of PART_FOLDERS
        inside this one; None where there is none. InputError: no such folder, or no weights."""
        found = self._part(IMAGE_TOKENIZER)
        if found is None:
            return None
        self.add_part(IMAGE_TOKENIZER, found)
        return self.part_json(found, "config.json")

    def missing_parts(self, names: Iterable[str]) -> list[str]:
        """Those of the parts whose folder is nowhere: neither named nor below this one."""
        return [name for name in names if self._part(name) is None]

    def part(self, name: str) -> Path:
        """The folder of a part. InputError: it is nowhere, or no folder."""
        found = self._part(name)
        if found is None or not found.is_dir():
            raise InputError(
                f"{found or self.path / PART_FOLDERS[name][0]}: no such folder, expected the part"
                f" {name}"
            )
        return found

    def _part(self, name: str) -> Path | None:
        if name in self._parts:
            return self._parts[name]
        if name == IMAGE_TOKENIZER and self._tokenizer_folder:
            return self._tokenizer_folder
        folders = (self.path / folder for folder in PART_FOLDERS[name])
        return next((folder for folder in folders if folder.is_dir()), None)

    def add_part(self, name: str, folder: Path) -> list[str]:
        """Bring a part's tensors in, below "<name>/", and give their names. InputError: not one
        file of weights."""
        files = sorted(folder.glob("*.safetensors"))
        if len(files) != 1:
            _refuse_pickles(folder)
            raise InputError(f"{folder}: {len(files)} .safetensors files, expected one, of {name}")
        file = TensorFile(files[0])
        found = {f"{name}/{tensor}": file.location(tensor) for tensor in file.names()}
        self.tensors |= found
        return list(found)

    def part_json(self, folder: Path, name: str) -> dict[str, Any]:
        """A JSON object from a part's folder."""
        data = read_json(folder / name, MAX_JSON)
        if not isinstance(data, dict):
            raise InputError(f"{folder / name}: expected an object")
        return data

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
    unused: prefixes of source tensors that are not needed, and why. made: tensors of ours that
    stand in no safetensors file, with their values; they are written next to the config.
    """

    config: dict[str, Any]
    tensors: dict[str, tuple[str | None, ...]]
    unused: dict[str, str] = field(default_factory=dict)
    tables: dict[str, tuple[str, str]] = field(default_factory=dict)
    tokenizer: str | None = None
    part: bool = False
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    made: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """`recognises` only looks at config.json and names. `plan` raises InputError where the source
    does not fit the layout."""

    name: str
    recognises: Callable[[Source], bool]
    plan: Callable[[Source], Plan]
