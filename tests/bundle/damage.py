"""Ways to damage a valid bundle, each keeping the manifest's sizes and hashes in step unless they
are what is damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from tests.bundle.build import external

Damage = Callable[[Path], None]
Case = tuple[str, Damage, str]  # what it is, how it is made, its error
TENSOR = "weight"


def load(path: Path) -> Any:
    return json.loads((path / "manifest.json").read_text())


def manifest(edit: Callable[[Any], object]) -> Damage:
    def damage(path: Path) -> None:
        data = load(path)
        edit(data)
        (path / "manifest.json").write_text(json.dumps(data))

    return damage


def manifest_bytes(data: bytes) -> Damage:
    return lambda path: void((path / "manifest.json").write_bytes(data))


def manifest_text(old: str, new: str) -> Damage:
    def damage(path: Path) -> None:
        text = (path / "manifest.json").read_text()
        assert old in text
        (path / "manifest.json").write_text(text.replace(old, new, 1))

    return damage


def record(path: Path, name: str) -> None:
    """Bring a file's record in step with its bytes."""
    content = (path / name).read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    manifest(lambda data: data["files"].__setitem__(name, entry))(path)


def rewrite(name: str, content: bytes | Callable[[bytes], bytes]) -> Damage:
    """Another content, honestly recorded."""

    def damage(path: Path) -> None:
        (path / name).write_bytes(
            content if isinstance(content, bytes) else content((path / name).read_bytes())
        )
        record(path, name)

    return damage


def graph(edit: Callable[[onnx.ModelProto], object], name: str = "backbone.onnx") -> Damage:
    def change(content: bytes) -> bytes:
        model = onnx.ModelProto.FromString(content)
        edit(model)
        return bytes(model.SerializeToString())

    return rewrite(name, change)


def weight_entry(**entries: str | None) -> Damage:
    """Other external_data entries for the backbone's weight; None leaves one out."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        now = {pair.key: pair.value for pair in tensor.external_data} | entries
        kept = {key: value for key, value in now.items() if value is not None}
        tensor.CopyFrom(external(TENSOR, tuple(tensor.dims), tensor.data_type, **kept))

    return graph(edit)


def rename_file(old: str, new: str) -> Damage:
    """The same record under another path (the file itself stays where it is)."""
    return manifest(lambda data: data["files"].__setitem__(new, data["files"].pop(old)))


def also_list(name: str) -> Damage:
    return manifest(lambda data: data["files"].__setitem__(name, {"sha256": "0" * 64, "size": 1}))


def void(_: object) -> None:
    """For lambdas that must return nothing."""


def symlink(name: str, target: str) -> Damage:
    def damage(path: Path) -> None:
        (path / name).unlink()
        (path / name).symlink_to(target)

    return damage
