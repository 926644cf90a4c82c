"""Opening a bundle: everything in it is checked here, before any vendor library sees a byte."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle.component_format import Stored
from nextomni_edge.bundle.digests import Hashes, check_digests
from nextomni_edge.bundle.manifest import (
    MANIFEST,
    PROCESSOR,
    FileRecord,
    Manifest,
    manifest_text,
    read_manifest,
)
from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.formats.tensor_file import TensorFile, all_finite, map_tensor
from nextomni_edge.formats.tokenizer import read_tokenizer
from nextomni_edge.graphs import graph_specs
from nextomni_edge.modalities.modality import TEXT
from nextomni_edge.spec import GraphSpec

MAX_MANIFEST: Final = 16 * 2**20
MAX_FOLDERS: Final = 4
SIGNATURE: Final = "model.sig"
HUGGING_FACE: Final = "config.json"  # what transformers and optimum read first
BESIDE: Final = frozenset(
    {SIGNATURE, HUGGING_FACE, "README.md", ".gitattributes", ".gitignore", ".DS_Store"}
)


class Bundle:
    """A checked bundle. It is read-only, and only keeps the manifest in memory."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def open(cls, path: Path, verify_hashes: Hashes | bool = True) -> Bundle:
        """Read and check a bundle. InputError: the first difference from the manifest and the
        config.

        `verify_hashes` False only skips the digests, which cost a read of every byte. "once" reads
        a file again only after the file system saw it change (see digests.py).
        """
        if not path.is_dir():
            aside = path.with_name(f".{path.name}.old")
            hint = (
                f"; an interrupted overwrite left the old one at {aside}: rename it back"
                if aside.is_dir()
                else ""
            )
            raise InputError(f"{path}: no such directory; expected a bundle{hint}")
        present = _present(path)
        manifest = read_manifest(read_json(path / MANIFEST, MAX_MANIFEST), str(path / MANIFEST))
        _check_tree(path, present, manifest.files)
        if verify_hashes:
            check_digests(path, manifest.files, once=verify_hashes == "once")
        bundle = cls(path, manifest)
        _check_use(bundle, _check_graphs(bundle))
        _check_metric_tables(bundle)
        _check_tokenizer(bundle)
        if manifest.golden:
            TensorFile(path / manifest.golden.file)
        return bundle

    @property
    def config(self) -> ModelConfig:
        return self.manifest.config

    @property
    def tokenizer_path(self) -> Path:
        return self.path / self.manifest.tokenizer

    def component_file(self, name: str) -> Path:
        """The path of a component's graph or package. InputError: the bundle was exported without
        it."""
        if name not in self.manifest.components:
            raise InputError(
                f"{self.path}: no component {name!r} in this bundle, found"
                f" {', '.join(self.manifest.components)}"
            )
        return self.path / self.manifest.components[name].file

    def component_weights(self, name: str) -> set[str]:
        """Names of the files that a component needs besides the one that the manifest names.
        InputError: the component is wrong."""
        record, file, spec = (
            self.manifest.components[name],
            self.component_file(name),
            self.spec(name),
        )
        whole, files = graph_specs(self.config)[name], self.manifest.files
        return record.stored_as.needed_files(
            Stored(file, spec, whole, record.precision, record.keeps, self.config, files)
        )

    def spec(self, name: str) -> GraphSpec:
        """A component's interface in its format. InputError: the bundle was exported without it."""
        self.component_file(name)
        return self.manifest.components[name].interface(graph_specs(self.config)[name])

    def metric_table(self, name: str) -> NDArray[np.float32]:
        """Metric table of a modality, float32: (V, D) of text, (K, C, D) of a coded one."""
        location = TensorFile(self.path / self.manifest.metric_tables).location(name)
        return map_tensor(location, name).astype(np.float32, copy=False)

    def golden(self) -> tuple[TensorFile, dict[str, object]]:
        """The golden trace: its tensors and their data. InputError: the bundle has none."""
        if self.manifest.golden is None:
            raise InputError(f"{self.path}: no golden trace in this bundle; export the model again")
        return TensorFile(self.path / self.manifest.golden.file), self.manifest.golden.data


def bundle_identity(path: Path) -> str:
    """The SHA-256 that names a bundle: that of its manifest without what the machine adds, which
    is any measurement and the processor of the golden trace. The manifest holds the digest of every
    other file. InputError: the manifest cannot be read."""
    data = read_json(path / MANIFEST, MAX_MANIFEST)
    if not isinstance(data, dict) or (bare := _without_machine(data)) == data:
        return file_sha256(path / MANIFEST)
    return hashlib.sha256(manifest_text(bare).encode()).hexdigest()


def _without_machine(manifest: Mapping[str, Any]) -> dict[str, Any]:
    bare = {key: value for key, value in manifest.items() if key != "measured"}
    golden = bare.get("golden")
    if isinstance(golden, dict) and isinstance(data := golden.get("data"), dict):
        kept = {key: value for key, value in data.items() if key != PROCESSOR}
        bare["golden"] = golden | {"data": kept}
    return bare


def walk(path: Path, depth: int = 0) -> list[str]:
    """Every file under `path`, relative, with '/' between names. InputError: links, devices,
    sockets, and folders without a file."""
    if depth > MAX_FOLDERS:
        raise InputError(f"{path}: folders are nested more than {MAX_FOLDERS} deep")
    found: list[str] = []
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            inside = walk(Path(entry.path), depth + 1)
            if not inside:
                raise InputError(f"{entry.path}: an empty folder, expected none in a bundle")
            found += [f"{entry.name}/{name}" for name in inside]
        elif stat.S_ISREG(mode) or _is_blob(Path(entry.path)):
            found.append(entry.name)
        else:
            kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
            raise InputError(f"{entry.path}: {kind}, expected only files and folders in a bundle")
    return found


def _is_blob(path: Path) -> bool:
    """Whether a file is a link as a hub's cache has: from a model's snapshots to its blobs."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    blobs = target.parent
    inside = blobs.name == "blobs" and blobs.parent / "snapshots" in path.absolute().parents
    return inside and path.is_symlink() and target.is_file()


def beside(name: str) -> bool:
    """What hubs, systems and network folders leave next to a bundle's files, and nothing reads."""
    base = name.rpartition("/")[2]
    return base in BESIDE or base.startswith((".nfs", "._"))


def _present(path: Path) -> dict[str, int]:
    """Name and size of every file of the bundle except the manifest, which must be there."""
    try:
        sizes = {name: (path / name).stat().st_size for name in walk(path)}
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be read ({error.strerror})") from error
    if sizes.pop(MANIFEST, None) is None:
        raise InputError(f"{path}: no {MANIFEST} inside; expected a bundle")
    return sizes


def _check_tree(path: Path, present: dict[str, int], files: dict[str, FileRecord]) -> None:
    found = {name for name in present if name in files or not beside(name)}
    for name in sorted(found ^ files.keys()):
        raise InputError(
            f"{path}: file {name!a} is"
            f" {'missing' if name in files else 'not listed in the manifest'}"
        )
    for name, record in files.items():
        if present[name] != record.size:
            raise InputError(
                f"{path}: file {name!r} has {present[name]} bytes, expected {record.size}"
            )


def _check_graphs(bundle: Bundle) -> set[str]:
    used = set[str]()
    for name in bundle.manifest.components:
        used |= bundle.component_weights(name)
    return used


def _check_use(bundle: Bundle, weights: Iterable[str]) -> None:
    """Check that every file has one use: a weight of a graph may not be a graph."""
    named, weights = set(bundle.manifest.referenced()), set(weights)
    for name in sorted(named & weights):
        raise InputError(
            f"{bundle.path}: file {name!r} is named in the manifest and holds a graph's external"
            " data"
        )
    for name in sorted(bundle.manifest.files.keys() - named - weights):
        raise InputError(f"{bundle.path}: file {name!r} is used by nothing")


def _check_metric_tables(bundle: Bundle) -> None:
    file, config = TensorFile(bundle.path / bundle.manifest.metric_tables), bundle.config
    if file.names() != sorted(config.metric_modalities):
        raise InputError(
            f"{file.path}: tensors {', '.join(file.names())}, expected"
            f" {', '.join(sorted(config.metric_modalities))}"
        )
    for name in config.metric_modalities:
        shape = _table_shape(config, name)
        location = file.location(name)
        if location.dtype != "float32" or location.shape != shape:
            raise InputError(
                f"{file.path}: table {name} is {location.dtype} {location.shape}, expected float32"
                f" {shape}"
            )
        if not all_finite(map_tensor(location, name)):
            raise InputError(f"{file.path}: table {name} has values that are not finite")


def _table_shape(config: ModelConfig, modality: str) -> tuple[int, ...]:
    """(V, D) of text, (K, C, D) of a coded modality."""
    if modality == TEXT:
        return config.text.vocabulary_size, config.text.metric_dim
    book = config.coded(modality).codebook
    return book.codebooks, book.entries, book.code_dim


def _check_tokenizer(bundle: Bundle) -> None:
    data = read_tokenizer(bundle.tokenizer_path)
    vocabulary, added = data["model"]["vocab"], data.get("added_tokens", [])
    size = bundle.config.text.vocabulary_size
    ids = (
        list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    )
    ids += [token.get("id") if isinstance(token, dict) else None for token in added]
    for token in ids:
        if type(token) is not int or not 0 <= token < size:
            raise InputError(
                f"{bundle.tokenizer_path}: token id {str(token)[:40]}, expected 0 to {size - 1}"
            )
