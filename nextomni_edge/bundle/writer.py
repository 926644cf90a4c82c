"""Writing a bundle: it is filled under a temporary name, and gets its own name when it is whole and
has passed the reader's checks."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.bundle.manifest import (
    FORMAT,
    LARGEST_WEIGHT,
    MANIFEST,
    VERSION,
    WEIGHTS,
    ComponentRecord,
    FileRecord,
    Golden,
    Manifest,
    Provenance,
    Quantisation,
    manifest_text,
    read_manifest,
)
from nextomni_edge.bundle.measured import Measured
from nextomni_edge.bundle.reader import HUGGING_FACE, MAX_MANIFEST, Bundle, walk
from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write, link_or_copy
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.formats.tensor_file import little_endian, write_tensors
from nextomni_edge.outputs import OutputKind, check_output_directory, output_directory

if TYPE_CHECKING:
    from typing_extensions import Self

Bytes = bytes | bytearray | memoryview


def _contents(folder: Path) -> frozenset[str] | None:
    """The names that a bundle's manifest lists, whether or not the bundle is sound."""
    try:
        data = read_json(folder / MANIFEST, MAX_MANIFEST)
    except InputError:
        return None
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict) or data.get("format") != FORMAT:
        return None
    return frozenset((MANIFEST, HUGGING_FACE, *files))


BUNDLE: Final = OutputKind("bundle", MANIFEST, _contents)


class BundleWriter:
    """Context manager. Fill `path` (by the methods below, or by writing into it), then `finish`.
    Leaving the block publishes the bundle.

    `finish` may be called again with more parts: a bundle is verified under its temporary name,
    then finished with the outcome. Leaving by an error, or without `finish`, keeps nothing. The old
    bundle stays until the new one is renamed over it. UsageError: `out` exists and `overwrite` is
    False, `out` is no bundle, or its place is full.
    """

    def __init__(self, out: Path, overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
        self._out, inputs = out, tuple(inputs)
        if overwrite:  # before a caller does any work
            check_output_directory(out, BUNDLE, inputs, overwrite)
        self._directory = output_directory(out, BUNDLE, inputs, overwrite)
        self._hashes: dict[str, str] = {}
        self._components: dict[str, ComponentRecord] = {}
        self._finished = False
        self.path = out

    def __enter__(self) -> Self:
        self.path = self._directory.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and not self._finished:
            unfinished = RuntimeError("the writer's block ended without finish()")
            with contextlib.suppress(RuntimeError):
                self._directory.__exit__(RuntimeError, unfinished, None)
            raise unfinished
        self._directory.__exit__(kind, error, trace)

    def add_weight(self, data: NDArray[Any] | Bytes | Iterable[Bytes]) -> str:
        """Store a tensor's little-endian bytes once by content; returns its path in the bundle,
        "weights/<sha256>".

        InputError: more than `LARGEST_WEIGHT` bytes.
        """
        folder = self.path / WEIGHTS
        folder.mkdir(exist_ok=True)
        part, digest = folder / f"{secrets.token_hex(8)}.part", hashlib.sha256()
        with part.open("xb") as file:
            for chunk in _chunks(data):
                digest.update(chunk)
                file.write(chunk)
                if file.tell() > LARGEST_WEIGHT:
                    raise InputError(
                        f"a tensor of more than {LARGEST_WEIGHT:,} bytes; no file of a bundle is"
                        " larger: use --precision float16"
                    )
        name = f"{WEIGHTS}/{digest.hexdigest()}"
        part.replace(self.path / name)
        self._hashes[name] = digest.hexdigest()
        return name

    def adopt_weight(self, source: Path, digest: str) -> str:
        """`add_weight` for a file that holds the bytes already. It is linked where the file system
        can, else copied. The caller knows its SHA-256, and no longer writes to it."""
        name = f"{WEIGHTS}/{digest}"
        (self.path / WEIGHTS).mkdir(exist_ok=True)
        if not (self.path / name).exists():
            link_or_copy(source, self.path / name)
        self._hashes[name] = digest
        return name

    def add_file(self, name: str, source: Path | Bytes) -> str:
        """Copy a file, or write bytes, under `name`; returns the name."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            if isinstance(source, Path):
                with open_regular(source) as original:
                    while chunk := original.read(2**20):
                        file.write(chunk)
            else:
                file.write(source)
        return name

    def add_tensors(self, name: str, tensors: Mapping[str, NDArray[Any]]) -> str:
        """Write a safetensors file (metric tables, golden trace) under `name`; returns the name."""
        with (self.path / name).open("wb") as file:
            write_tensors(file, tensors)
        return name

    def component(self, name: str, record: ComponentRecord) -> None:
        """Declare a component. Its graph's file must be at the bundle's top when `finish` is
        called."""
        self._components[name] = record

    def finish(
        self,
        config: ModelConfig,
        tokenizer: str = "tokenizer.json",
        metric_tables: str = "metric_tables.safetensors",
        golden: Golden | None = None,
        parity: Mapping[str, object] | None = None,
        provenance: Provenance | None = None,
        quantisation: Quantisation | None = None,
    ) -> Bundle:
        """Write the manifest of every file in `path`, and open the bundle, still under its
        temporary name, like a reader.

        Next to ONNX graphs it puts the config.json by which transformers and optimum load them.
        InputError: a reader would refuse the bundle.
        """
        if any(record.format == "onnx" for record in self._components.values()):
            with atomic_write(self.path / HUGGING_FACE, "w") as file:
                file.write(transformers_config(config))
        manifest = Manifest(
            FORMAT, VERSION, config, dict(self._components), tokenizer, metric_tables,
            self._records(), golden, dict(parity or {}), provenance or Provenance(), quantisation,
        )  # fmt: skip
        with atomic_write(self.path / MANIFEST, "w") as file:
            file.write(manifest_text(manifest.to_json()))
        bundle = Bundle.open(self.path, verify_hashes=False)
        self._finished = True
        return bundle

    def _records(self) -> dict[str, FileRecord]:
        records: dict[str, FileRecord] = {}
        for name in walk(self.path):
            if name not in (MANIFEST, HUGGING_FACE):
                digest = self._hashes.get(name) or file_sha256(self.path / name)
                records[name] = FileRecord(digest, (self.path / name).stat().st_size)
        return records


def transformers_config(config: ModelConfig) -> str:
    """What Hugging Face's libraries must know before they load a graph: a type of model that they
    know, and its sizes. It is that of our backbone, Qwen2's; nothing of ours reads it."""
    backbone = config.backbone
    told = {
        "model_type": "qwen2",
        "hidden_size": backbone.hidden_size,
        "intermediate_size": backbone.mlp_size,
        "num_hidden_layers": backbone.layers,
        "num_attention_heads": backbone.query_heads,
        "num_key_value_heads": backbone.kv_heads,
        "max_position_embeddings": backbone.max_positions,
        "rms_norm_eps": backbone.rms_norm_eps,
        "rope_theta": backbone.rope_base,
        "vocab_size": config.text.vocabulary_size,
    }
    return json.dumps(told, indent=2) + "\n"


def write_measured(bundle: Bundle, measured: Measured) -> Bundle:
    """Put a measurement into a bundle's manifest, in one step. Every other file stays. InputError:
    the bundle has changed since it was opened. UsageError: its folder cannot be written."""
    path = bundle.path / MANIFEST
    data: Any = read_json(path, MAX_MANIFEST)
    if read_manifest(data, str(path)) != bundle.manifest:
        raise InputError(f"{bundle.path}: changed while it was measured; measure it again")
    with atomic_write(path, "w") as file:
        file.write(manifest_text(data | {"measured": dataclasses.asdict(measured)}))
    return Bundle.open(bundle.path, verify_hashes=False)


def _chunks(data: NDArray[Any] | Bytes | Iterable[Bytes]) -> Iterable[Bytes]:
    if isinstance(data, np.ndarray):
        return (little_endian(data),)
    return (data,) if isinstance(data, Bytes) else data
