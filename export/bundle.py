"""One call from a model directory to a bundle that is checked against PyTorch before it gets its
name."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import math
import os
import platform
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import torch
from numpy.typing import NDArray

from nextomni_edge.bundle import (
    Bundle,
    BundleWriter,
    ComponentRecord,
    Golden,
    Provenance,
    Quantisation,
)
from nextomni_edge.bundle.manifest import MANIFEST
from nextomni_edge.bundle.writer import BUNDLE
from nextomni_edge.checkpoints.directory import Checkpoint, file_sha256
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.export.onnx import write_component
from nextomni_edge.export.weights import Precision as Stored
from nextomni_edge.export.weights import WeightStream
from nextomni_edge.models.components import Component
from nextomni_edge.models.components import components as components_of
from nextomni_edge.models.networks import Model, build, check_tensors, load
from nextomni_edge.outputs import check_output_directory
from nextomni_edge.spec import ComponentName, Precision
from nextomni_edge.threads import fixed_threads
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.verify import against_checkpoint, golden, record

Progress = Callable[[str, float], None]  # what is being done, and the share that is done, 0 to 1
Check = Literal["full", "golden", "none"]
Target = Literal["onnx", "coreml", "gguf"]
# Core ML takes 128 shapes (coremltools' guide, "Flexible Input Shapes"); a backbone has two of a
# count
MOST_ROWS: Final = 64
Write = Callable[[Component], ComponentRecord]
# Bits of a value; of llama.cpp's formats with their scales, q4_k_m about, since it gives some
# matrices more.
BITS: Final[Mapping[Precision, float]] = {
    "float32": 32, "float16": 16, "q8_0": 8.5, "q6_k": 6.5625, "q4_k_m": 4.85, "q4_0": 4.5,
}  # fmt: skip
LIBRARIES: Final = (
    "nextomni-edge",
    "torch",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "coremltools",
    "gguf",
    "llama-cpp-python",
    "numpy",
    "safetensors",
    "tokenizers",
)


@dataclass(frozen=True)
class CoreMlOptions:
    """Options that only Core ML packages have.

    `like`: a quantised bundle of ONNX graphs; the same layers are compressed with the same
    integers. `palettes`: with 2^bits values by k-means in their place. `chunk_mib`: cut the
    backbone into packages of at most this size, which run in sequence. `rows`: counts of rows to
    enumerate shapes for, ascending, one sequence at a time; none: any count. `state`: keys and
    values stay in the backbone. `author`, `licence`: what each package says of the model.
    """

    like: Path | None = None
    palettes: bool = False
    chunk_mib: int | None = None
    rows: tuple[int, ...] = ()
    state: bool = False
    author: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.rows and not (
            self.rows[0] > 0
            and len(self.rows) <= MOST_ROWS
            and list(self.rows) == sorted(set(self.rows))
        ):
            raise UsageError(
                f"rows {self.rows}: expected at most {MOST_ROWS} counts, each over the one before,"
                " such as 32,64,256"
            )
        if self.palettes and self.like is None:
            raise UsageError(
                "palettes: which layers get one, and of how many bits, a quantised bundle says;"
                " give it with --like"
            )

    def made_of(self, checkpoint: Checkpoint) -> Quantisation | None:
        """For the manifest: the deciding bundle and its recipe. InputError: it was made from
        another model."""
        if self.like is None:
            return None
        manifest = Bundle.open(self.like, verify_hashes=False).manifest
        if manifest.quantisation is None or manifest.provenance.source != checkpoint.sha256():
            raise InputError(
                f"{self.like}: made from a model that is not {checkpoint.path}, or not quantised;"
                " nothing was exported"
            )
        like = {"like": file_sha256(self.like / MANIFEST), "palettes": self.palettes}
        return dataclasses.replace(
            manifest.quantisation, recipe=manifest.quantisation.recipe | like, gate={}
        )


@dataclass(frozen=True)
class ExportReport:
    """What was exported, or would be in a dry run: parameters and bytes of each component, the
    bytes of all weights stored once, and the verification's result (None in a dry run). A shared
    tensor counts in each component that uses it."""

    out: Path
    precision: Precision
    parameters: dict[str, int]
    weight_bytes: dict[str, int]
    total_weight_bytes: int
    parity: dict[str, object] | None = None
    rounded: dict[str, float] = field(default_factory=dict)


def export_bundle(
    model: str | os.PathLike[str] | Checkpoint,
    out: str | os.PathLike[str],
    components: Collection[str] | None = None,
    precision: Precision = "float32",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    verify: Check = "full",
    target: Target = "onnx",
    coreml: CoreMlOptions | None = None,
) -> ExportReport:
    """Export a model directory to a bundle: one graph for each component, checked before the bundle
    gets its name.

    model: the model directory, or an open checkpoint. One that stands in no directory
    (models/generated.py) holds nothing that PyTorch loads, so `verify` "full" is not for it.
    out: the bundle's directory; it appears whole or not at all.
    components: names to export; None means all.
    target: the graphs' format. "gguf" writes the backbone for llama.cpp next to ONNX graphs of
    everything else; only it has the precisions in blocks, which are the backbone's.
    precision: how weights are stored. "float16" halves them; ONNX graphs compute in float32 either
    way, Core ML programs then in float16.
    overwrite: replace a bundle at `out`, which stays whole until the new one is.
    dry_run: return what would be written, and write nothing.
    progress: called with what is being done and the share of it, 0 to 1.
    verify: "full" compares every component and whole generations with PyTorch and writes the golden
    trace; "golden" writes the trace from the exported graphs, compared with nothing; "none" does
    neither, for machines that cannot hold the model. The manifest says which.
    coreml: what only Core ML packages have.

    Returns sizes and the parity that was measured. UsageError: an unknown component, an option of
    another target, `out` exists or has no space. InputError: the checkpoint is not as it must be.
    GateError (exit code 4): the bundle does not compute what the model does. MissingRuntimeError:
    a library that the target needs is not installed.
    """
    out = Path(out)
    _check_precision(precision, target)
    checkpoint = model if isinstance(model, Checkpoint) else Checkpoint.open(Path(model))
    chosen = _choose(_on_meta(checkpoint), components)
    check_tensors(checkpoint)
    _check_tokenizer(checkpoint)
    if not dry_run:
        check_output_directory(out, BUNDLE, [checkpoint.path, *checkpoint.files], overwrite)
    report, progress = _plan(checkpoint, chosen, out, precision), progress or _silent
    if dry_run:
        return report
    options = coreml or CoreMlOptions()
    return _export(checkpoint, chosen, report, overwrite, progress, verify, target, options)


def _check_precision(precision: Precision, target: Target) -> None:
    """UsageError: the target does not store weights so."""
    if target != "gguf" and precision not in ("float32", "float16"):
        raise UsageError(
            f"only target gguf has precision {precision}; {target} takes float32 or float16,"
            " then `quantize`"
        )


def _check_tokenizer(checkpoint: Checkpoint) -> None:
    """InputError, before a graph is traced: no tokenizer, or not one that fits the model."""
    path = checkpoint.tokenizer_path
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; a bundle needs the model's tokenizer: put it there, and export"
            " again"
        )
    TextTokenizer(path, checkpoint.config.text).check_vocabulary()


def _on_meta(checkpoint: Checkpoint) -> Model:
    with torch.device("meta"):
        return build(checkpoint.config).eval()


def _silent(_: str, __: float) -> None:
    pass


def _choose(model: Model, names: Collection[str] | None) -> dict[str, Component]:
    """The components asked for, in the model's order. UsageError: an unknown name."""
    found = components_of(model)
    for name in names or ():
        if name not in found:
            near = difflib.get_close_matches(name, found, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(found)}"
            raise UsageError(f"component {name!r}: {hint}")
    return {name: component for name, component in found.items() if names is None or name in names}


def _plan(
    checkpoint: Checkpoint, chosen: dict[str, Component], out: Path, precision: Precision
) -> ExportReport:
    bits = {
        name: BITS[precision if name == ComponentName.BACKBONE else _beside(precision)]
        for name in chosen
    }
    sizes = {
        name: {tensor: math.prod(checkpoint.shape(tensor)) for tensor in set(part.weights.values())}
        for name, part in chosen.items()
    }
    parameters = {name: sum(tensors.values()) for name, tensors in sizes.items()}
    in_bytes = {name: round(count * bits[name] / 8) for name, count in parameters.items()}
    once = {
        tensor: count * bits[name] / 8
        for name, tensors in sizes.items()
        for tensor, count in tensors.items()
    }
    return ExportReport(out, precision, parameters, in_bytes, round(sum(once.values())))


def _beside(precision: Precision) -> Stored:
    """The stored precision of ONNX graphs next to a backbone of this precision."""
    return "float16" if precision == "float16" else "float32"


def _export(
    checkpoint: Checkpoint,
    chosen: dict[str, Component],
    report: ExportReport,
    overwrite: bool,
    progress: Progress,
    check: Check,
    target: Target,
    coreml: CoreMlOptions,
) -> ExportReport:
    # first: it finds files that are not those that were imported
    provenance = _provenance(checkpoint)
    with BundleWriter(report.out, overwrite, [checkpoint.path]) as writer:
        stream, told = _told(checkpoint, writer, report, progress)
        if target == "coreml":
            write = _coreml(stream, report.precision, coreml)
        else:
            write = (_onnx if target == "onnx" else _gguf)(chosen, stream, report.precision)
        for name, component in chosen.items():
            told(name)
            writer.component(name, write(component))
        tables: dict[str, NDArray[Any]] = {
            name: checkpoint.table(f"metric_tables.{name}")
            for name in checkpoint.config.metric_modalities
        }
        writer.add_tensors("metric_tables.safetensors", tables)
        writer.add_file("tokenizer.json", checkpoint.tokenizer_path)
        made_of = coreml.made_of(checkpoint) if target == "coreml" else None
        finish = functools.partial(
            writer.finish, checkpoint.config, provenance=provenance, quantisation=made_of
        )
        proof, parity = _proof(finish(), checkpoint, writer, check, progress)
        finish(golden=proof, parity=parity)
    progress("done", 1.0)
    return dataclasses.replace(report, parity=parity, rounded=stream.rounded)


def _proof(
    bundle: Bundle, checkpoint: Checkpoint, writer: BundleWriter, check: Check, progress: Progress
) -> tuple[Golden | None, dict[str, object]]:
    """The bundle's golden trace, written, and the parity that was measured."""
    if check == "none":
        return None, {"check": check}
    with _one_thread():
        outcome, trace = (
            against_checkpoint(bundle, checkpoint.path, progress=progress)
            if check == "full"
            else record(bundle, progress)
        )
    parity = {"check": check} | outcome.require().to_json()
    return Golden(writer.add_tensors(golden.FILE, trace.tensors()), trace.data()), parity


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """What is recorded is hashed, so no machine's number of cores may change its last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with fixed_threads(1):
            yield
    finally:
        torch.set_num_threads(before)


def _told(
    checkpoint: Checkpoint, writer: BundleWriter, report: ExportReport, progress: Progress
) -> tuple[WeightStream, Callable[[str], None]]:
    """The weight stream. It reports the stored share of all weights after each, and the component
    in progress."""
    name, share = "", 0.0

    def stored(nbytes: int) -> None:
        nonlocal share
        share = min(1.0, nbytes / max(1, report.total_weight_bytes))
        progress(f"export {name}", share)

    def begin(component: str) -> None:
        nonlocal name
        name = component
        progress(f"export {name}", share)

    return WeightStream(checkpoint, writer, stored), begin


def _onnx(chosen: dict[str, Component], stream: WeightStream, precision: Precision) -> Write:
    """Writes a component's graph, and its weights into the shared store."""
    stored = _beside(precision)
    uses = Counter(tensor for part in chosen.values() for tensor in set(part.weights.values()))
    tied = frozenset(tensor for tensor, count in uses.items() if count > 1)

    def write(component: Component) -> ComponentRecord:
        file = f"{component.name}.onnx"
        write_component(component, stream, tied, stream.writer.path / file, stored)
        return ComponentRecord("onnx", file, stored)

    return write


def _coreml(stream: WeightStream, precision: Precision, options: CoreMlOptions) -> Write:
    """Writes a component's package. The converter reads weights, so this holds the model in
    memory."""
    from nextomni_edge.bundle.coreml_interface import Form
    from nextomni_edge.export.coreml import write_component  # its library is another extra's
    from nextomni_edge.export.coreml_metadata import About
    from nextomni_edge.export.coreml_weights import Like

    about = About(options.author, options.licence)
    like = Like(Bundle.open(options.like), options.palettes) if options.like else None
    whole = components_of(load(stream.checkpoint.path))
    stored = _beside(precision)
    form = Form(bool(options.rows), options.rows, options.state)
    return lambda component: write_component(
        whole[component.name], stream.writer, stored, like, options.chunk_mib, form, about
    )


def _gguf(chosen: dict[str, Component], stream: WeightStream, precision: Precision) -> Write:
    """Writes the backbone's file, and the graphs of the components that llama.cpp does not run."""
    from nextomni_edge.export.gguf import write_backbone  # its library is another extra's

    graph = _onnx(
        {name: part for name, part in chosen.items() if name != ComponentName.BACKBONE},
        stream,
        precision,
    )

    def write(component: Component) -> ComponentRecord:
        if component.name != ComponentName.BACKBONE:
            return graph(component)
        return write_backbone(component, stream, stream.checkpoint.config.backbone, precision)

    return write


def _provenance(checkpoint: Checkpoint) -> Provenance:
    versions = {"python": platform.python_version(), "architecture": platform.machine()}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return Provenance(versions, checkpoint.sha256())
