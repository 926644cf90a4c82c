"""The content of manifest.json, typed, and the rules for the paths in it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nextomni_edge.bundle.component_format import FORMATS, Format, FormatName
from nextomni_edge.bundle.measured import Measured
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.formats.strict_json import read_dataclass
from nextomni_edge.graphs import graph_specs, without_states
from nextomni_edge.spec import GraphSpec, Precision

MANIFEST: Final = "manifest.json"
FORMAT: Final = "nextomni-edge-bundle"
VERSION: Final = 1
WEIGHTS: Final = "weights"
BLOCK_SIZES: Final = (16, 32, 64, 128)  # of ONNX Runtime's block-quantised operators
# bytes of a weight's file: what any device's file system holds; a tensor has one file
LARGEST_WEIGHT: Final = 2**32 - 1
# bytes in float32; smaller tensors stand inside their graph, unchanged by the bundle's precision
INLINE: Final = 1024
# in the golden trace's data: which processor recorded it
PROCESSOR: Final = "processor"

Arithmetic = Literal["float32", "float16", "int8"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileRecord:
    """Content of one file: lower-case hex digest and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Decision:
    """How one layer is quantised, and its measured cost.

    bundle/quantised.py says what a graph stores for a `scheme`. A Core ML package only holds the
    weights: for "rows", "stored" and "blocks" the same numbers, for "palette" 2^bits values.

    `operator` reads the weight: "matmul" stores it (in, out), the others as the model does.
    `activation` is the (scale, zero point) of a static layer's input (around 0 for "float8").
    `output` is that of a static convolution's rounded output. `weight_error` is ‖Ŵ − W‖ / ‖W‖
    (Frobenius) against the parent, with the smoothing undone. `divergence` is the KL divergence
    (nats per draw) of quantising only this layer, where it was measured. `bytes` counts everything
    that is stored.
    """

    scheme: Literal[
        "per_token", "per_tensor", "static", "blocks", "rows", "stored", "palette", "float8"
    ]
    operator: Literal["matmul", "linear", "gather", "conv", "einsum"]
    bits: Literal[4, 8]
    method: str = "rtn"
    block_size: int | None = None
    symmetric: bool = True
    smoothed: bool = False
    activation: tuple[float, ...] | None = None
    output: tuple[float, ...] | None = None
    weight_error: float = 0.0
    divergence: float | None = None
    bytes: int = 0

    @property
    def rounds_input(self) -> bool:
        """Whether the layer's input is rounded to 8 bits while the graph runs."""
        rounding = ("per_token", "per_tensor", "static", "blocks", "float8")
        return self.scheme in rounding and self.operator not in ("gather", "einsum")

    @property
    def mixes_rows(self) -> bool:
        """Whether the rounding of a row depends on the other rows of the call."""
        return self.scheme == "per_tensor" and self.rounds_input


@dataclass(frozen=True)
class ComponentRecord:
    """One component's graph. `precision` names the stored form of its weights; `quantisation` lists
    the weights in another form.

    `file` is a graph, a GGUF file, or the folder of a Core ML package. The package's own index then
    stands for it among the manifest's files. `keeps`: its keys and values are a Core ML state.
    """

    format: FormatName
    file: str
    precision: Precision = "float32"
    quantisation: dict[str, Decision] = field(default_factory=dict)
    keeps: bool = False

    @property
    def stored_as(self) -> Format:
        """The record of its format."""
        return FORMATS[self.format]

    @property
    def arithmetic(self) -> Arithmetic:
        """The component's arithmetic. An ONNX graph widens what it stores, and a Core ML program
        does not. llama.cpp rounds the input of a quantised matrix to 8 bits."""
        if self.stored_as.onnx or self.precision == "float32":
            return "float32"
        return "float16" if self.precision == "float16" else "int8"

    def interface(self, spec: GraphSpec) -> GraphSpec:
        """The component's inputs and outputs, given the spec of its name. llama.cpp keeps keys and
        values to itself, and so does a Core ML package with a state."""
        return without_states(spec) if self.stored_as.keeps == "always" or self.keeps else spec

    @property
    def index(self) -> str:
        """The file by which the manifest names the component."""
        return f"{self.file}/{self.stored_as.index}" if self.stored_as.index else self.file


@dataclass(frozen=True)
class Golden:
    """The golden trace: tensors in a safetensors `file`, and their JSON data (see verify)."""

    file: str
    data: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Library versions at export, and the digest of each file of the source checkpoint."""

    versions: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Quantisation:
    """The making of a quantised bundle: the SHA-256 of the parent's manifest, the recipe's config
    as JSON, the SHA-256 of the calibration's provenance (None without one), whether that held
    random numbers, and the gate's measurement."""

    parent: str
    recipe: dict[str, object]
    calibration: str | None = None
    random_calibration: bool = False
    gate: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The whole manifest. `files` covers every file of the bundle except the manifest itself.
    `measured` is the result of `report` on a variant. It and the golden trace's `PROCESSOR` are no
    part of the bundle's identity (see reader.bundle_identity)."""

    format: Literal["nextomni-edge-bundle"]
    version: Literal[1]
    config: ModelConfig
    components: dict[str, ComponentRecord]
    tokenizer: str
    metric_tables: str
    files: dict[str, FileRecord]
    golden: Golden | None = None
    parity: dict[str, object] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    quantisation: Quantisation | None = None
    measured: Measured | None = None

    def to_json(self) -> dict[str, Any]:
        data = dataclasses.asdict(self) | {"config": self.config.to_json()}
        if self.measured is None:
            del data["measured"]
        return data

    def referenced(self) -> list[str]:
        """Every file that the manifest itself names outside `files`."""
        named = [component.index for component in self.components.values()] + [
            self.tokenizer,
            self.metric_tables,
        ]
        return named + ([self.golden.file] if self.golden else [])


def manifest_text(data: Mapping[str, object]) -> str:
    """The content of manifest.json."""
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def read_manifest(data: object, where: str) -> Manifest:
    """Check a parsed manifest against the schema. InputError: format, version, keys, types, names
    and paths."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: found {type(data).__name__}, expected an object")
    if data.get("format") != FORMAT:
        raise InputError(f"{where}: format {data.get('format')!r}, expected {FORMAT!r}")
    if type(data.get("version")) is not int or data["version"] != VERSION:
        raise InputError(
            f"{where}: version {data.get('version')!r}, this release reads {VERSION}; export the"
            " model again"
        )
    manifest = read_dataclass(Manifest, data, where)
    check_paths(manifest.files, f"{where}: files")
    for name, record in manifest.files.items():
        _check_record(name, record, f"{where}: files")
    known = graph_specs(manifest.config)
    for name in manifest.components:
        if name not in known:
            raise InputError(
                f"{where}: unknown component {name!r}, expected one of {', '.join(known)}"
            )
    if not manifest.components:
        raise InputError(f"{where}: no components")
    _check_references(manifest, where)
    return manifest


def check_path(path: str, where: str) -> None:
    """Refuse a path that leaves the bundle, or that means another file on another system.
    InputError."""
    shown = ascii(path[:80])
    if not path or len(path) > 240:
        raise InputError(f"{where}: path of {len(path)} characters, expected 1 to 240")
    if "\\" in path:
        raise InputError(f"{where}: path {shown} has a backslash, expected '/' between names")
    if path.startswith("/"):
        raise InputError(f"{where}: path {shown} is absolute, expected one inside the bundle")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise InputError(f"{where}: path {shown} has the part {part!r}, expected plain names")
        if not _NAME.fullmatch(part) or part.endswith("."):
            raise InputError(
                f"{where}: path {shown} has a name outside A-Z a-z 0-9 _ . - (first and last no"
                " dot)"
            )
        if _DEVICES.fullmatch(part):
            raise InputError(f"{where}: path {shown} has the reserved name {part!r}")


def check_paths(paths: Iterable[str], where: str) -> None:
    """Check each path, and that no two are the same name on a file system that ignores case."""
    seen: dict[str, str] = {}
    for path in paths:
        check_path(path, where)
        other = seen.setdefault(path.lower(), path)
        if other != path:
            raise InputError(f"{where}: paths {other!r} and {path!r} only differ in case")
        if path.lower() == MANIFEST:
            raise InputError(f"{where}: the manifest lists itself")


def _check_record(name: str, record: FileRecord, where: str) -> None:
    if not _SHA256.fullmatch(record.sha256):
        raise InputError(
            f"{where}: {name}: sha256 {record.sha256[:80]!r}, expected 64 lower-case hex digits"
        )
    if not 0 <= record.size < 2**62:
        raise InputError(f"{where}: {name}: size {record.size}, expected a number of bytes")
    folder, _, base = name.rpartition("/")
    if folder == WEIGHTS and base != record.sha256:
        raise InputError(
            f"{where}: {name}: a weight's name must be its sha256, found {record.sha256}"
        )


def _check_references(manifest: Manifest, where: str) -> None:
    for component in manifest.components.values():
        _check_format(component, f"{where}: {component.file}", where)
    seen: set[str] = set()
    for path in manifest.referenced():
        if path not in manifest.files:
            raise InputError(f"{where}: file {path[:80]!a} is named but not listed under files")
        if path in seen:
            raise InputError(f"{where}: file {path!r} is named twice")
        seen.add(path)
    for component in manifest.components.values():
        if "/" in component.file:
            raise InputError(f"{where}: graph {component.file!r} must stand at the bundle's top")
        for weight, decision in component.quantisation.items():
            _check_decision(decision, f"{where}: {component.file}: {weight[:80]!a}")


def _check_format(component: ComponentRecord, place: str, where: str) -> None:
    """What the component's record says is something that its format has."""
    stored, others = component.stored_as, FORMATS.values()
    for kind in (kind for kind in others if kind.ending):
        if component.file.endswith(kind.ending) != (kind is stored):
            raise InputError(
                f"{where}: {component.file!r} of format {component.format}: only {kind.name} uses"
                f" the ending {kind.ending}"
            )
    if component.precision not in stored.precisions:
        able = [kind.name for kind in others if component.precision in kind.precisions]
        raise InputError(f"{place}: only {' and '.join(able)} has precision {component.precision}")
    if component.keeps and stored.keeps != "recorded":
        able = [f"{kind.title}s" for kind in others if kind.keeps == "recorded"]
        raise InputError(f"{place}: a state inside; only {' and '.join(able)} have one")
    if component.quantisation and not stored.layers:
        raise InputError(f"{place}: layers listed as quantised; a {stored.title} says it by itself")


def _check_decision(decision: Decision, where: str) -> None:
    """Check that a scheme has the numbers that it needs, and no others."""
    if (decision.scheme == "blocks") != (decision.block_size is not None):
        raise InputError(
            f"{where}: scheme {decision.scheme!r}, block size {decision.block_size}, expected one"
            " only for 'blocks'"
        )
    if decision.block_size is not None and decision.block_size not in BLOCK_SIZES:
        raise InputError(
            f"{where}: block size {decision.block_size}, expected one of {BLOCK_SIZES}"
        )
    if (decision.scheme in ("static", "float8")) != (decision.activation is not None):
        raise InputError(
            f"{where}: scheme {decision.scheme!r}, expected an activation range only for"
            " 'static' and 'float8'"
        )
    if decision.scheme == "float8" and (
        decision.operator not in ("matmul", "linear") or decision.bits != 8
    ):
        raise InputError(
            f"{where}: float8 of {decision.bits} bits on {decision.operator!r}, expected 8 bits of"
            " a product of matrices"
        )
    if (decision.scheme == "static" and decision.operator == "conv") != (
        decision.output is not None
    ):
        raise InputError(f"{where}: expected an output range only for static convolutions")
    for name, pair in (("activation", decision.activation), ("output", decision.output)):
        if pair is not None and len(pair) != 2:
            raise InputError(
                f"{where}: {name} of {len(pair)} numbers, expected a scale and a zero point"
            )
