"""One verb: it makes a smaller bundle, layer by layer, and measures it before it gets its name."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from nextomni_edge.bundle import (
    Bundle,
    BundleWriter,
    Decision,
    Golden,
    Quantisation,
    bundle_identity,
)
from nextomni_edge.bundle.manifest import MANIFEST
from nextomni_edge.calibration.data.samples import CalibrationSet
from nextomni_edge.calibration.job import SHARE, Entries, Job, Progress, external
from nextomni_edge.calibration.recipes.config import Mixed, QuantConfig, check_skip, to_json
from nextomni_edge.calibration.recipes.handlers import decide
from nextomni_edge.calibration.recipes.mixed import solve
from nextomni_edge.calibration.report.divergence import (
    Cost,
    Divergence,
    Gate,
    held_out,
    moments,
)
from nextomni_edge.calibration.rewrite import read_back
from nextomni_edge.calibration.workspace import Workspace
from nextomni_edge.errors import GateError, InputError, NextOmniError, UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.verify import golden, record


@dataclass(frozen=True)
class QuantReport:
    """What was made.

    Bytes of every file of the parent and of the bundle; per component, the bytes of its graph and
    weights before and after. Each layer's decision by its name. What it costs against the parent
    (None: there is nothing to measure it on), and whether the calibration held random numbers.
    """

    out: Path
    parent_bytes: int
    bytes: int
    components: dict[str, tuple[int, int]] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    cost: Cost | None = None
    random_calibration: bool = False

    @property
    def divergence(self) -> float | None:
        """KL(parent ‖ variant) in nats per draw."""
        return self.cost.kl if self.cost else None

    @property
    def flips(self) -> float | None:
        """The share of draws whose likeliest symbol is another than the parent's."""
        return self.cost.flips if self.cost else None


def quantize(
    bundle: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: QuantConfig,
    calibration: str | os.PathLike[str] | None = None,
    max_kl: float | None = None,
    keep: bool = False,
    overwrite: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    max_flips: float | None = None,
) -> QuantReport:
    """Write a bundle with its weights as integers, one weight in memory at a time, and measure its
    divergence from the parent. PyTorch is not needed.

    bundle: the parent, a bundle of ONNX graphs that is not quantised. The backbone of a GGUF bundle
    keeps the precision of its export, and the graphs around it are quantised. out: the bundle to
    write; it appears whole or not at all. config: the recipe, as
    `calibration.recipes.config.recipe` names it. calibration: what `calibrate` wrote from the
    parent, for recipes that look at inputs.
    max_kl, max_flips: the gate, the largest divergence KL(parent ‖ variant) in nats per draw, and
    the largest share of draws whose likeliest symbol changes. keep: write the bundle even where the
    gate is not met. overwrite: replace a bundle at `out`. resume: continue a
    run that was killed, with the same bytes as a result. progress: called with what is being done
    and the share of it, 0 to 1.

    The divergence is measured on the parent's golden trace, which calibrates nothing, and without a
    trace on the calibration set. A parent without a golden trace is not run, and neither is its
    variant.

    Returns sizes, each layer's decision and the divergence. GateError: the gate is not met; nothing
    is kept, unless `keep`. UsageError: `out` exists, the budget cannot be met, the recipe needs a
    calibration. InputError: the bundle, one that is quantised already, or a weight that is not
    finite.
    """
    bundle, out = Path(bundle), Path(out)
    calibration = None if calibration is None else Path(calibration)
    check_skip(config.skip)
    gate = Gate(max_kl, max_flips)
    parent = _quantisable(bundle)
    samples = None if calibration is None else CalibrationSet.open(calibration).require(parent)
    key = {
        "parent": bundle_identity(bundle),
        "config": to_json(config),
        "calibration": samples.sha256 if samples else None,
    }
    with BundleWriter(out, overwrite, [bundle, *([calibration] if calibration else [])]) as writer:
        workspace = Workspace(Path(out), key, resume)
        try:
            report = _write(
                Job(parent, config, samples, workspace, progress or _silent), writer, gate, keep
            )
        except NextOmniError:
            workspace.remove()
            raise
    workspace.remove()
    if report.cost is not None and (missed := gate.missed(report.cost)):
        raise GateError(f"{'; '.join(missed)}; {out} was kept, as was asked")
    return dataclasses.replace(report, out=out)


def _quantisable(path: Path) -> Bundle:
    """The bundle at `path`. InputError: it cannot be quantised, and why."""
    if (path / "config.json").is_file() and not (path / MANIFEST).is_file():
        raise InputError(f"{path}: is a model directory; export it first, with --target onnx")
    parent = Bundle.open(path)
    if parent.manifest.quantisation is not None:
        raise InputError(f"{path}: is quantised already; quantise the bundle that was exported")
    for name, stored in parent.manifest.components.items():
        if stored.format != "gguf" and not stored.stored_as.onnx:
            raise InputError(
                f"{path}: {name} is of format {stored.format}; quantize reads ONNX graphs: export"
                " with --target onnx"
            )
    return parent


def _silent(_: str, __: float) -> None:
    pass


def _told(gate: Gate, cost: Cost | None) -> dict[str, object]:
    """What the manifest keeps of the gate."""
    told: dict[str, object] = {"divergence": cost.kl if cost else None, "max_kl": gate.max_kl}
    told |= {"flips": cost.flips if cost else None, "max_flips": gate.max_flips}
    return told | {"met": cost is None or not gate.missed(cost)}


def _write(job: Job, writer: BundleWriter, gate: Gate, keep: bool) -> QuantReport:
    parent = job.parent
    whole = EdgeModel.from_bundle(parent)
    measured = held_out(parent, job.calibration)
    if not measured and (gate or isinstance(job.config, Mixed)):
        raise UsageError(
            f"{parent.path} has no whole generation in a golden trace to measure on; give a"
            " calibration set"
        )
    divergence = Divergence(whole, measured)
    if isinstance(job.config, Mixed):
        alone = (
            moments(parent, job.calibration, job.config.trajectories)
            if job.calibration
            else measured
        )
        entries: Entries = solve(job, job.config, whole, Divergence(whole, alone), divergence)
    else:
        plan = {
            layer.name: decision
            for layer in job.layers
            if (decision := decide(job.config, layer)) is not None
        }
        entries = job.entries(plan)
    write_graphs(job, writer, entries)
    made = writer.finish(parent.config, parent.manifest.tokenizer, parent.manifest.metric_tables)
    cost = divergence.of(EdgeModel.from_bundle(made)) if measured else None
    missed = gate.missed(cost) if cost is not None else []
    if missed and not keep:
        raise GateError(f"{'; '.join(missed)}; nothing was kept")
    made = _finish(job, writer, made, _told(gate, cost))
    budget = job.config.budget_bytes if isinstance(job.config, Mixed) else None
    if budget is not None and total_bytes(made) > budget:
        raise GateError(
            f"{total_bytes(made):,} bytes, more than the budget of {budget:,}: the golden trace"
            " grew; allow for it"
        )
    sizes = {
        name: (weight_bytes(parent, name), weight_bytes(made, name))
        for name in parent.manifest.components
    }
    decisions = {name: entry.decision for name, entry in entries.items()}
    job.progress("done", 1.0)
    random = job.calibration is not None and job.calibration.record.random
    return QuantReport(
        writer.path, total_bytes(parent), total_bytes(made), sizes, decisions, cost, random
    )


def write_graphs(job: Job, writer: BundleWriter, entries: Entries) -> None:
    """Write every component's graph with its quantised layers, all weights that the graphs read,
    and the parent's other files. A GGUF file stays as it is."""
    manifest = job.parent.manifest
    for component, stored in manifest.components.items():
        if not stored.stored_as.onnx:
            writer.add_file(stored.file, job.parent.path / stored.file)
            writer.component(component, stored)
            continue
        model, own = job.graph(component, entries, writer.path)
        for entry in own.values():
            for part in entry.parts.values():
                writer.adopt_weight(job.workspace.file(part), part.digest)
        for location in external(model):
            if not (writer.path / location).exists():
                writer.add_file(location, job.parent.path / location)
        decisions = {weight: entry.decision for weight, entry in own.items()}
        ir.save(model, writer.path / stored.file)
        read_back(writer.path / stored.file, decisions)
        writer.component(component, dataclasses.replace(stored, quantisation=decisions))
    writer.add_file(manifest.tokenizer, job.parent.tokenizer_path)
    writer.add_file(manifest.metric_tables, job.parent.path / manifest.metric_tables)


def _finish(job: Job, writer: BundleWriter, made: Bundle, gate: dict[str, object]) -> Bundle:
    """The bundle with its own golden trace, still under its temporary name. GateError: an output is
    not finite."""
    manifest, calibration = job.parent.manifest, job.calibration
    made_of = Quantisation(
        bundle_identity(job.parent.path), to_json(job.config),
        calibration.sha256 if calibration else None,
        calibration is not None and calibration.record.random, gate,
    )  # fmt: skip
    proof, parity = None, dict[str, object](check="none")
    if manifest.golden is not None:
        outcome, trace = record(
            made, lambda what, share: job.progress(what, SHARE + (1 - SHARE) * share)
        )
        parity = {"check": "golden", **outcome.require().to_json()}
        proof = Golden(writer.add_tensors(golden.FILE, trace.tensors()), trace.data())
    return writer.finish(
        job.parent.config, manifest.tokenizer, manifest.metric_tables, proof, parity,
        manifest.provenance, made_of
    )  # fmt: skip


def total_bytes(bundle: Bundle) -> int:
    """Bytes of every file except the manifest."""
    return sum(file.size for file in bundle.manifest.files.values())


def weight_bytes(bundle: Bundle, component: str) -> int:
    """Bytes of a component's graph and its external data, each file once."""
    graph, files = bundle.component_file(component), bundle.manifest.files
    if not bundle.manifest.components[component].stored_as.onnx:
        return files[graph.name].size
    return files[graph.name].size + sum(files[name].size for name in external(ir.load(graph)))
