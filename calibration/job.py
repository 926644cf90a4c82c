"""One quantisation: the parent, the plan, and the workspace of finished layers."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx_ir as ir

from nextomni_edge.bundle import Bundle, ComponentRecord, Decision
from nextomni_edge.bundle.manifest import WEIGHTS
from nextomni_edge.bundle.onnx_graph import load_graph
from nextomni_edge.calibration.data.samples import CalibrationSet
from nextomni_edge.calibration.layers import Layer, layers, weight_of
from nextomni_edge.calibration.recipes.apply import quantise_weight
from nextomni_edge.calibration.recipes.calibrated import inputs_of
from nextomni_edge.calibration.recipes.config import QuantConfig
from nextomni_edge.calibration.rewrite import Rewriter
from nextomni_edge.calibration.workspace import Entry, Workspace
from nextomni_edge.files import link_or_copy
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Session, runtime

Progress = Callable[[str, float], None]  # what is being done, and the share that is done, 0 to 1
Plan = Mapping[str, Decision]  # by layer's name; a layer that is not in it stays as it is
Entries = Mapping[str, Entry]  # finished layers, by name

SHARE: Final = 0.7  # of the time that layers take, as the progress shows it


@dataclass(frozen=True)
class Job:
    """`progress` is called for every layer."""

    parent: Bundle
    config: QuantConfig
    calibration: CalibrationSet | None
    workspace: Workspace
    progress: Progress

    @functools.cached_property
    def graphs(self) -> dict[str, ComponentRecord]:
        """The components that are ONNX graphs; the rest of a bundle stays as it is."""
        parts = self.parent.manifest.components.items()
        return {name: record for name, record in parts if record.stored_as.onnx}

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of all graphs, in the manifest's order."""
        return tuple(
            layer
            for component in self.graphs
            for layer in layers(component, load_graph(self.parent, component))
        )

    def entries(self, plan: Plan) -> dict[str, Entry]:
        """The planned layers' parts. Those that an earlier run left are reused. One weight is in
        memory at a time.

        UsageError: the plan needs a calibration set. InputError: a weight is not finite (it is
        named).
        """
        wanted = [layer for layer in self.layers if layer.name in plan]
        found = {layer.name: self.workspace.load(_key(layer, plan)) for layer in wanted}
        pending = {(layer.component, layer.input) for layer in wanted if found[layer.name] is None}
        together = [layer for layer in wanted if (layer.component, layer.input) in pending]
        inputs = inputs_of(self.parent, self.calibration, self.config, plan, together)
        done: dict[str, Entry] = {}
        for index, layer in enumerate(wanted):
            self.progress(f"quantise {layer.name}", SHARE * index / len(wanted))
            entry = found[layer.name]
            if entry is None:
                weight = weight_of(load_graph(self.parent, layer.component), layer)
                made = quantise_weight(weight, plan[layer.name], inputs.get(layer.name))
                entry = self.workspace.store(_key(layer, plan), *made)
            done[layer.name] = entry
        return done

    def graph(
        self, component: str, entries: Entries, folder: Path
    ) -> tuple[ir.Model, dict[str, Entry]]:
        """A component's graph with the layers in `entries` rewritten, for `folder`, and these
        layers by weight."""
        model, own = load_graph(self.parent, component), dict[str, Entry]()
        rewriter = Rewriter(model, folder)
        for layer in layers(component, model):
            if layer.name in entries:
                own[layer.weight] = entries[layer.name]
                rewriter.replace(layer, own[layer.weight].decision, own[layer.weight].parts)
        return model, own

    def session(self, component: str, entries: Entries) -> Session:
        """A component, with these layers quantised, loaded to be measured."""
        record = self.parent.manifest.components[component]
        with tempfile.TemporaryDirectory(dir=self.workspace.path) as name:
            folder = Path(name)
            model, _ = self.graph(component, entries, folder)
            (folder / WEIGHTS).mkdir()
            for location in external(model):
                link_or_copy(self.file(location), folder / location)
            ir.save(model, folder / record.file)
            return runtime(record.format).load(
                component, folder / record.file, graph_specs(self.parent.config)[component]
            )

    def file(self, location: str) -> Path:
        """The place of external data: the workspace or the parent."""
        made = self.workspace.path / Path(location).name
        return made if made.exists() else self.parent.path / location

    def size(self, entries: Entries) -> int:
        """Bytes of all files of the bundle that these layers make, without the manifest. It may be
        a little too high: the golden trace is not recorded yet, and counts as an eighth larger than
        the parent's."""
        manifest = self.parent.manifest
        graphs, used = 0, set[str]()
        parts = manifest.components.items()
        others = [record.file for name, record in parts if name not in self.graphs]
        with tempfile.TemporaryDirectory(dir=self.workspace.path) as name:
            for component, record in self.graphs.items():
                model, _ = self.graph(component, entries, Path(name))
                ir.save(model, Path(name) / record.file)
                graphs += (Path(name) / record.file).stat().st_size
                used |= external(model)
        trace = manifest.files[manifest.golden.file].size if manifest.golden else 0
        kept = (
            trace
            + trace // 8
            + sum(
                manifest.files[name].size
                for name in (manifest.tokenizer, manifest.metric_tables, *others)
            )
        )
        return graphs + kept + sum(self.file(name).stat().st_size for name in used)


def external(model: ir.Model) -> set[str]:
    """Every file of a graph's weights."""
    values = (value.const_value for value in model.graph.initializers.values())
    return {str(tensor.location) for tensor in values if isinstance(tensor, ir.ExternalTensor)}


def _key(layer: Layer, plan: Plan) -> str:
    """The key of a finished layer: a mixed recipe makes several versions of one."""
    return f"{layer.name}@{plan[layer.name].bits}"
