"""The formats that a bundle's components are stored in: one record each, in one table."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nextomni_edge.config import ModelConfig
from nextomni_edge.spec import GraphSpec, Precision


@dataclass(frozen=True)
class Stored:
    """A component as its format's check is given it: where it stands, its interface on the wire and
    that of its `whole` graph, how its weights are stored, whether its states stay inside, and the
    records of the bundle's files by name."""

    path: Path
    spec: GraphSpec
    whole: GraphSpec
    precision: Precision
    keeps: bool
    config: ModelConfig
    files: Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """
    What a bundle and its readers know of one format.

    title: of one such component, for sentences. runtimes: those that read it, the default first
    (see runtimes.base.RUNTIMES). check: "module:function", which takes a `Stored` and gives the
    names of the files that it needs next to its own; InputError for what is not as it must be.

    ending: of the component's file, which no other format may use; "" where any name will do.
    index: of a component that is a folder, the file in it by which the manifest names it.
    precisions: how its weights may be stored. keeps: whether a component's keys and values stay
    inside it, "always", "never", or where its record says so. onnx: whether it is an ONNX graph.
    Such a graph can be cut, tapped and rewritten, widens its weights to float32, and shares their
    files with others. layers: whether the manifest lists the layers that it quantises. describe:
    "module:function" of a path, which gives what `inspect` shows of a component besides its files.
    """

    name: str
    title: str
    runtimes: tuple[str, ...]
    check: str
    ending: str = ""
    index: str = ""
    precisions: tuple[Precision, ...] = ("float32", "float16")
    keeps: Literal["never", "recorded", "always"] = "never"
    onnx: bool = False
    layers: bool = True
    describe: str = ""

    def description(self, path: Path) -> dict[str, Any]:
        """The operators and the form of a component, empty where the format tells none."""
        nothing: dict[str, Any] = {"operators": {}, "form": {}}
        return nothing | pkgutil.resolve_name(self.describe)(path) if self.describe else nothing

    def needed_files(self, stored: Stored) -> set[str]:
        """Check a component; the names of the files that it needs next to its own."""
        found: set[str] = pkgutil.resolve_name(self.check)(stored)
        return found


_LLAMA_CPP: tuple[Precision, ...] = ("float32", "float16", "q8_0", "q6_k", "q4_k_m", "q4_0")
# Adding a format is the file of its check and one record here.
_RECORDS = (
    Format(
        "onnx", "ONNX graph", ("onnx", "openvino", "tensorrt"),
        "nextomni_edge.bundle.graph_check:check_stored", onnx=True,
    ),
    Format(
        "coreml", "Core ML package", ("coreml",),
        "nextomni_edge.bundle.coreml_package:check_stored",
        ending=".mlpackage", index="Manifest.json", keeps="recorded",
        describe="nextomni_edge.bundle.coreml_package:described",
    ),
    Format(
        "gguf", "GGUF file", ("llamacpp",), "nextomni_edge.bundle.gguf_file:check_stored",
        ending=".gguf", precisions=_LLAMA_CPP, keeps="always", layers=False,
        describe="nextomni_edge.bundle.gguf_file:described",
    ),
)  # fmt: skip
FORMATS: Mapping[str, Format] = {record.name: record for record in _RECORDS}

if TYPE_CHECKING:
    FormatName = str
else:  # what reads a manifest refuses a name that is not in the table
    FormatName = Literal[tuple(FORMATS)]
