"""One verb: a bundle becomes a smaller one, layer by layer, and is measured before it gets its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import onnx_ir as ir

from nextomni_edge.bundle import Bundle, BundleWriter, Decision, Golden, Quantisation
from nextomni_edge.bundle.manifest import MANIFEST
from nextomni_edge.calibration.apply import quantise_weight
from nextomni_edge.calibration.config import QuantConfig, check_skip, to_json
from nextomni_edge.calibration.graph import Layer, layers, load_graph, weight_of
from nextomni_edge.calibration.handlers import decide
from nextomni_edge.calibration.rewrite import Rewriter, read_back
from nextomni_edge.calibration.workspace import Entry, Workspace
from nextomni_edge.checkpoint import file_sha256
from nextomni_edge.errors import InputError, NextOmniError
from nextomni_edge.verify import golden, record

Progress = Callable[[str, float], None]  # what is being done, and the share that is done, 0 to 1
Plan = Mapping[str, Decision]  # by layer's name; a layer that is not in it stays as it is

SHARE: Final = 0.7  # of the time that layers take, as the progress shows it


@dataclass(frozen=True)
class QuantReport:
    """What was made: bytes of every file of the parent and of the bundle, per component the bytes of its weights before and after,
    and each layer's decision by its name."""

    out: Path
    parent_bytes: int
    bytes: int
    components: dict[str, tuple[int, int]] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)


def quantize(
    bundle: Path, out: Path, config: QuantConfig, overwrite: bool = False, resume: bool = True, progress: Progress | None = None
) -> QuantReport:
    """Quantise the bundle at `bundle` to one at `out`, one weight in memory at a time.

    A run that was killed goes on where it stopped (unless `resume` is False) and gives the same bytes.
    UsageError: `out` exists. InputError: the bundle, a weight that is not finite (it is named), one quantised before.
    """
    check_skip(config.skip)
    parent = Bundle.open(bundle)
    if parent.manifest.quantisation is not None:
        raise InputError(f"{bundle}: is quantised already; quantise the bundle that was exported")
    key = {"parent": file_sha256(bundle / MANIFEST), "config": to_json(config)}
    report = progress or (lambda _, __: None)
    with BundleWriter(out, overwrite) as writer:
        workspace = Workspace(Path(out), key, resume)
        try:
            found = _write(parent, writer, workspace, config, report)
        except NextOmniError:
            workspace.remove()
            raise
    workspace.remove()
    report("done", 1.0)
    return dataclasses.replace(found, out=out)


def _write(parent: Bundle, writer: BundleWriter, workspace: Workspace, config: QuantConfig, progress: Progress) -> QuantReport:
    plan = {layer.name: decision for layer in every_layer(parent) if (decision := decide(config, layer)) is not None}
    decisions = write_graphs(parent, writer, workspace, plan, progress)
    writer.add_file(parent.manifest.tokenizer, parent.tokenizer_path)
    writer.add_file(parent.manifest.metric_tables, parent.path / parent.manifest.metric_tables)
    made = _finished(parent, writer, config, progress)
    sizes = {name: (weight_bytes(parent, name), weight_bytes(made, name)) for name in parent.manifest.components}
    return QuantReport(writer.path, total_bytes(parent), total_bytes(made), sizes, decisions)


def every_layer(bundle: Bundle) -> Iterator[Layer]:
    """The layers of all components, in the manifest's order."""
    for component in bundle.manifest.components:
        yield from layers(component, load_graph(bundle, component))


def write_graphs(parent: Bundle, writer: BundleWriter, workspace: Workspace, plan: Plan, progress: Progress) -> dict[str, Decision]:
    """Quantise the layers of the plan and write every component's graph and weights; the decisions as carried out."""
    decisions, done = dict[str, Decision](), 0
    for component, stored in parent.manifest.components.items():
        model, own = load_graph(parent, component), dict[str, Decision]()
        rewriter = Rewriter(model, writer.path)
        for layer in layers(component, model):
            if layer.name not in plan:
                continue
            progress(f"quantise {layer.name}", SHARE * done / max(1, len(plan)))
            entry = quantised_layer(model, layer, plan[layer.name], workspace)
            rewriter.replace(layer, entry.decision, entry.parts)
            for part in entry.parts.values():
                writer.adopt_weight(workspace.file(part), part.digest)
            own[layer.weight], decisions[layer.name], done = entry.decision, entry.decision, done + 1
        _keep_rest(parent, writer, model)
        ir.save(model, writer.path / stored.file)
        read_back(writer.path / stored.file, own)
        writer.component(component, dataclasses.replace(stored, quantisation=own))
    return decisions


def quantised_layer(model: ir.Model, layer: Layer, decision: Decision, workspace: Workspace) -> Entry:
    """A layer's parts in the workspace, made there unless an earlier run did."""
    entry = workspace.load(layer.name)
    if entry is not None:
        return entry
    return workspace.store(layer.name, *quantise_weight(weight_of(model, layer), decision))


def _keep_rest(parent: Bundle, writer: BundleWriter, model: ir.Model) -> None:
    """Copy what the graph still reads of the parent's weights, by content."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and not (writer.path / tensor.location).exists():
            writer.add_file(str(tensor.location), parent.path / tensor.location)


def _finished(parent: Bundle, writer: BundleWriter, config: QuantConfig, progress: Progress) -> Bundle:
    """The bundle with its golden trace, still under its temporary name. GateError: an output is not finite."""
    manifest = parent.manifest
    made_of = Quantisation(file_sha256(parent.path / MANIFEST), to_json(config))
    bundle = writer.finish(parent.config, manifest.tokenizer, manifest.metric_tables, provenance=manifest.provenance)
    outcome, trace = record(bundle, lambda what, share: progress(what, SHARE + (1 - SHARE) * share))
    proof = Golden(writer.add_tensors(golden.FILE, trace.tensors()), trace.data())
    parity = {"check": "golden", **outcome.require().to_json()}
    return writer.finish(
        parent.config, manifest.tokenizer, manifest.metric_tables, proof, parity, manifest.provenance, made_of
    )  # fmt: skip


def total_bytes(bundle: Bundle) -> int:
    """Of every file but the manifest."""
    return sum(file.size for file in bundle.manifest.files.values())


def weight_bytes(bundle: Bundle, component: str) -> int:
    """Of a component's external data, each file once, and of its graph."""
    graph = ir.load(bundle.component_file(component)).graph
    external = {t.location for v in graph.initializers.values() if isinstance(t := v.const_value, ir.ExternalTensor)}
    files = bundle.manifest.files
    return files[bundle.manifest.components[component].file].size + sum(files[str(name)].size for name in external)
