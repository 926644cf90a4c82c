"""The golden trace replayed on this device: numpy and one runtime, no PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nextomni_edge.bundle import Bundle
from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import NextOmniError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.spec import ComponentName
from nextomni_edge.verify import components, golden, preparation, processor, trajectory
from nextomni_edge.verify.comparison import (
    COARSENESS,
    FLOAT16_LOG_MEL_LIMIT,
    OTHER_PROCESSOR_TIE,
    ComponentResult,
    Report,
    TaskResult,
    arithmetic_of,
    error,
    limit,
    log_mel_error,
    rounds_itself,
    within,
)
from nextomni_edge.verify.golden import GoldenTrace
from nextomni_edge.verify.trajectory import Trajectory

Progress = Callable[[str, float], None]  # what is being done, and the share that is done, 0 to 1


def replay(
    bundle: Bundle,
    execution: Execution | None = None,
    progress: Progress | None = None,
    check_digests: bool = True,
) -> Report:
    """Run everything that the bundle's trace holds, as `execution` says, and compare; the report
    says what differs, `require()` raises it.

    A generation is not run where the runtime rounds inside its kernels: it stands under `skipped`
    and `unchecked`. `check_digests` False looks at outputs only. InputError: the bundle has no
    trace. MissingRuntimeError: the runtime is not installed.
    """
    trace = golden.read(bundle)
    model = EdgeModel.from_bundle(bundle, execution)
    report = Report("the golden trace", ran_on(bundle, execution))
    report.compute = (execution or Execution()).compute
    if bundle.manifest.parity.get("check") != "full":
        report.notes.append(
            "the trace was recorded from the bundle's own graphs, not compared with PyTorch;"
            " `verify --against MODEL` does that"
        )
    elsewhere = processor.difference(bundle, trace)
    report.notes += [elsewhere] if elsewhere else []
    if check_digests:
        report.failures += golden.changed(bundle, trace)
        report.digests = len(trace.digests)
    comparison = _Comparison(bundle, execution, model, trace, report, elsewhere is not None)
    comparison.preparation()
    names = (*trace.cases, *trace.tasks)
    for index, name in enumerate(names):
        if progress:
            progress(f"verify {name}", index / len(names))
        (comparison.component if name in trace.cases else comparison.task)(name)
    report.providers = model.providers()
    return report


@dataclass(frozen=True)
class _Comparison:
    """A trace and the model that it is compared with; what differs goes into the report.
    `elsewhere`: the trace was recorded on another kind of processor."""

    bundle: Bundle
    execution: Execution | None
    model: EdgeModel
    trace: GoldenTrace
    report: Report
    elsewhere: bool

    def preparation(self) -> None:
        """Text to ids, pictures to pixels, sounds to log-mel."""
        prepared = self.trace.prepared
        if not prepared:
            self.report.skipped["preparation"] = (
                "not recorded: the bundle was exported by an older release"
            )
            return
        self.report.failures += preparation.compare(
            prepared, self.bundle.config, self.model.tokenizer
        )
        self.report.prepared = len(prepared)

    def component(self, name: str) -> None:
        """Every case of a component."""
        result = component_result(self.bundle, name, self.execution, self.elsewhere)
        self.report.components[name] = result
        for case, (inputs, outputs) in self.trace.cases[name].items():
            self.report.failures += components.compare(
                self.model.session(name), case, inputs, outputs, result, self.bundle.config
            )[0]

    def task(self, name: str) -> None:
        """A whole generation, or the reason why one means nothing here."""
        report, (task, expected) = self.report, self.trace.tasks[name]
        used = self.bundle.manifest.components.values()
        if any(rounds_itself(component, self.execution) for component in used):
            report.unchecked.append(name)
            report.skipped[name] = (
                f"{report.runtime} rounds in its own way; --against MODEL compares each step with"
                " PyTorch"
            )
            return
        result = report.tasks[name] = task_result(self.bundle, self.execution, self.elsewhere)
        near = OTHER_PROCESSOR_TIE if self.elsewhere else None
        try:
            found = trajectory.run(self.model, task)
            report.failures += compare_runs(
                name, found, expected, result, self.bundle.config.audio, near
            )
        except NextOmniError as failure:
            report.failures.append(f"{name}: {failure}")


def ran_on(bundle: Bundle, execution: Execution | None) -> str:
    """The runtimes that a bundle's components run on."""
    asked = execution or Execution()
    formats = {component.format for component in bundle.manifest.components.values()}
    return ", ".join(sorted({str(asked.of_format(name).runtime) for name in formats}))


def component_result(
    bundle: Bundle, component: str, execution: Execution | None, elsewhere: bool = False
) -> ComponentResult:
    """An empty result, with the limit of the component's arithmetic. `elsewhere`: the other run was
    on another kind of processor."""
    arithmetic = arithmetic_of(bundle.manifest.components[component], execution, elsewhere)
    return ComponentResult(arithmetic=arithmetic, limit=limit(component, arithmetic))


def task_result(bundle: Bundle, execution: Execution | None, elsewhere: bool = False) -> TaskResult:
    """An empty result. A whole generation is as coarse as its coarsest component."""
    found = {
        arithmetic_of(component, execution, elsewhere)
        for component in bundle.manifest.components.values()
    }
    return TaskResult(arithmetic=max(found, key=COARSENESS.index))


def compare_runs(
    name: str,
    found: Trajectory,
    expected: Trajectory,
    result: TaskResult,
    config: AudioConfig,
    near: float | None = None,
) -> list[str]:
    """`trajectory.compare`, followed by a comparison of the decoded media where the tokens are the
    same. In float16 a sound is compared by its log-mel."""
    failures = trajectory.compare(name, found, expected, result, near)
    if failures or result.near_ties:
        return failures
    for segment, (ours, theirs) in enumerate(zip(found.decoded, expected.decoded, strict=True)):
        if theirs.ndim == 1 and result.arithmetic == "float16":
            measured, allowed, unit = (
                log_mel_error(ours[None], theirs[None], config),
                FLOAT16_LOG_MEL_LIMIT,
                "in its log-mel",
            )
        else:
            component = (
                ComponentName.AUDIO_DECODER if theirs.ndim == 1 else ComponentName.IMAGE_DECODER
            )
            measured, allowed, unit = (
                error(ours, theirs),
                limit(component, result.arithmetic),
                "of its scale",
            )
        if not within(measured, allowed):
            failures.append(
                f"{name}: what segment {segment} decodes to differs by {measured:.3g} {unit}, limit"
                f" {allowed:.0e}"
            )
    return failures
