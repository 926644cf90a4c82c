"""A bundle against its checkpoint, and the recording of the golden trace."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nextomni_edge.bundle import Bundle
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import NextOmniError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.runtimes.choice import choose
from nextomni_edge.tasks import Plan, plans_of, unable
from nextomni_edge.verify import components, golden, preparation, processor, trajectory
from nextomni_edge.verify.cases import cases
from nextomni_edge.verify.comparison import Report
from nextomni_edge.verify.golden import GoldenTrace
from nextomni_edge.verify.replay import (
    Progress,
    compare_runs,
    component_result,
    ran_on,
    replay,
    task_result,
)

if TYPE_CHECKING:
    from nextomni_edge.verify.reference import Reference


def verify(
    bundle: str | os.PathLike[str] | Bundle,
    against: str | os.PathLike[str] | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    allow_unchecked: bool = False,
) -> Report:
    """Whether a bundle computes what its model computes, on the runtime that would run it here.

    bundle: its directory, or an open one. against: None replays the golden trace that the bundle
    carries; a model directory is run in PyTorch next to the bundle, every component on its own and
    whole generations of every kind, token for token at every step. execution: the runtime, its
    provider and arithmetic; None is what `run` takes for this bundle (`runtimes.choice.choose`).
    progress: called with what is being done and the share of it, 0 to 1. allow_unchecked: succeed
    where a generation that the bundle can do was not compared.

    Returns what was compared, with the largest errors, near ties and notes. InputError: a file is
    not as the manifest says, or the model is not of the bundle's config. MissingRuntimeError: the
    runtime or PyTorch is not installed. VerificationError (exit code 4): something differs, NaN
    included, or was not checked; its `report` says what.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
    how = choose(opened, execution).execution
    if against is None:
        return replay(opened, how, progress).require(allow_unchecked)
    model = Path(against)
    report, _ = against_checkpoint(opened, model, how, progress)
    report.notes += other_sources(opened, model)
    return report.require(allow_unchecked)


def other_sources(bundle: Bundle, model_dir: Path) -> list[str]:
    """One line for each file of the model directory that is not the one that the bundle was
    exported from, by the digests of the manifest."""
    now, then = Checkpoint.open(model_dir).sha256(), bundle.manifest.provenance.source
    return [
        f"{name} of {model_dir} is not the file that {bundle.path} was exported from: SHA-256"
        f" {now.get(name, 'none')[:12]}, the manifest says {then.get(name, 'none')[:12]}"
        for name in sorted(now.keys() | then.keys())
        if then and now.get(name) != then.get(name)
    ]


def against_checkpoint(
    bundle: Bundle,
    model_dir: Path,
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> tuple[Report, GoldenTrace]:
    """Every component of the bundle, and every task that its components can do, in PyTorch and in
    the runtime.

    The trace is what the runtime computed, with the margins that PyTorch saw; keep it only if the
    report has no failure. InputError: the model directory is not what the bundle was exported from.
    """
    from nextomni_edge.verify.reference import Reference  # the only way to PyTorch

    return _compare(bundle, execution, Reference(bundle, model_dir, execution), progress)


def record(bundle: Bundle, progress: Progress | None = None) -> tuple[Report, GoldenTrace]:
    """The trace of a bundle without a comparison. The report only says that every output is
    finite."""
    return _compare(bundle, None, None, progress)


def _compare(
    bundle: Bundle,
    execution: Execution | None,
    reference: Reference | None,
    progress: Progress | None,
) -> tuple[Report, GoldenTrace]:
    model = EdgeModel.from_bundle(bundle, execution)
    report = Report(
        reference.name if reference else "nothing (recorded, not compared)",
        ran_on(bundle, execution),
        compute=(execution or Execution()).compute,
    )
    comparison = _Comparison(bundle, execution, model, reference, report, GoldenTrace())
    steps: list[tuple[str, Callable[[], None]]] = [
        *((name, partial(comparison.component, name)) for name in bundle.manifest.components),
        *((plan.name, partial(comparison.task, plan)) for plan in plans_of(bundle.config)),
    ]
    for index, (name, step) in enumerate(steps):
        if progress:
            progress(f"verify {name}", index / len(steps))
        step()
    comparison.trace.prepared = preparation.record(bundle.config, model.tokenizer)
    report.providers = model.providers()
    comparison.trace.digests = golden.digests(bundle)
    comparison.trace.processor = processor.features(bundle)
    return report, comparison.trace


@dataclass(frozen=True)
class _Comparison:
    """One run of both. Its findings go to `report` and `trace`."""

    bundle: Bundle
    execution: Execution | None
    model: EdgeModel
    reference: Reference | None
    report: Report
    trace: GoldenTrace

    def component(self, name: str) -> None:
        result = self.report.components.setdefault(
            name, component_result(self.bundle, name, self.execution)
        )
        session, reference = self.model.session(name), self.reference
        self.trace.cases[name] = {}
        for case, inputs in cases(session.spec, self.bundle.config):
            try:
                expected = reference.run(name, inputs) if reference else session.run(inputs)
            except NextOmniError as failure:
                self.report.failures.append(
                    f"{failure} ({case}, in {reference.name if reference else 'the runtime'})"
                )
                continue
            failures, found = components.compare(
                session, case, inputs, expected, result, self.bundle.config
            )
            self.report.failures += failures
            margins = (
                {components.MARGINS: expected[components.MARGINS]}
                if components.MARGINS in expected
                else {}
            )
            self.trace.cases[name][case] = (inputs, found | margins)

    def task(self, plan: Plan) -> None:
        report, reference, model = self.report, self.reference, self.model
        components, special = self.bundle.manifest.components, model.tokenizer.special
        if reason := unable(plan, components, special, self.bundle.config):
            report.skipped[plan.name] = reason
            return
        report.tasks[plan.name] = result = task_result(self.bundle, self.execution)
        try:
            task = plan.task(reference.model if reference else model)
            found = trajectory.run(model, task)
            expected = trajectory.run(reference.model, task) if reference else found
        except NextOmniError as failure:
            report.failures.append(f"{plan.name}: {failure}")
            return
        report.failures += compare_runs(
            plan.name, found, expected, result, self.bundle.config.audio
        )
        self.trace.tasks[plan.name] = (task, found)
