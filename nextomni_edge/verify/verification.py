"""A bundle against the checkpoint that it was made of, and the recording of the golden trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import NextOmniError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.tasks import PLANS, Plan
from nextomni_edge.verify import components, golden, preparation, trajectory
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
    bundle: Path | Bundle,
    against: Path | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> Report:
    """Replay the bundle's golden trace, or compare with the model directory `against` in PyTorch.

    InputError: a file is not as the manifest says. VerificationError (exit 4): anything differs,
    NaN included; see its `report`.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    if against is None:
        return replay(opened, execution, progress).require()
    return against_checkpoint(opened, against, execution, progress)[0].require()


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
    """The trace of a bundle that nothing is compared with: the report only says that every output
    is finite."""
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
    )
    comparison = _Comparison(bundle, execution, model, reference, report, GoldenTrace())
    steps: list[tuple[str, Callable[[], None]]] = [
        *((name, partial(comparison.component, name)) for name in bundle.manifest.components),
        *((plan.name, partial(comparison.task, plan)) for plan in PLANS),
    ]
    for index, (name, step) in enumerate(steps):
        if progress:
            progress(f"verify {name}", index / len(steps))
        step()
    comparison.trace.prepared = preparation.record(bundle.config, model.tokenizer)
    comparison.trace.digests = golden.digests(bundle)
    return report, comparison.trace


@dataclass(frozen=True)
class _Comparison:
    """One run of both; what it finds goes to `report` and `trace`."""

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
        if self.bundle.config.causal and plan.answer != "text":
            report.skipped[plan.name] = "an autoregressive model answers in text"
            return
        if missing := [
            name for name in plan.components if name not in self.bundle.manifest.components
        ]:
            report.skipped[plan.name] = f"the bundle has no {', '.join(missing)}"
            return
        if absent := [kind for kind in plan.kinds if not model.tokenizer.special.has(kind)]:
            report.skipped[plan.name] = f"the model's conversations hold no {', '.join(absent)}"
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
