"""Which runtime generates fastest with a bundle on this machine: every runtime that reads the
bundle and is installed, timed in turn on whole generations."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import NextOmniError, UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.measure.timing import Configuration, timed
from nextomni_edge.runtimes.base import READERS, Execution
from nextomni_edge.runtimes.base import runtime as named_runtime
from nextomni_edge.spec import ComponentName
from nextomni_edge.tasks import Plan, plans_of, unable
from nextomni_edge.tokens.text import TextTokenizer

Progress = Callable[[str, float], None]  # what is being done, and the share that is done, 0 to 1

SECONDS: Final = 30.0  # the time after which no further round begins
ROUNDS: Final = 7
# Another runtime than the default must be faster by more than what two measurements differ by.
ADVANTAGE: Final = 1.1


@dataclass
class Timed:
    """One task on one runtime. Seconds: `load` until the task's components are there, the library
    included; `first`, a generation on fresh sessions; `later`, those after it. A generation here
    has the steps of `tasks.STEPS`; a real one has `ratio` times as many."""

    load: float
    first: float
    ratio: float
    later: list[float] = field(default_factory=list)

    @property
    def generation(self) -> float:
        """Seconds of a generation of the model's own number of steps, once all is warm."""
        return self.ratio * statistics.median(self.later)

    @property
    def answer(self) -> float:
        """Seconds of what `run` does: load, and generate once."""
        return self.load + self.first + (self.ratio - 1.0) * statistics.median(self.later)


@dataclass
class Compared:
    """What was timed, by runtime and task; and by runtime why it could not be timed."""

    default: str
    timed: dict[str, dict[str, Timed]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def answers(self, runtime: str) -> dict[str, float]:
        """Seconds of `Timed.answer`, by task."""
        return {task: found.answer for task, found in self.timed[runtime].items()}

    def times_as_fast(self, runtime: str) -> float:
        """Against the default: the geometric mean over the tasks of the ratio of answers."""
        own, default = self.answers(runtime), self.answers(self.default)
        return math.exp(statistics.mean(math.log(default[task] / own[task]) for task in own))

    @property
    def fastest(self) -> str:
        """The runtime to take: the default, unless another one is faster by `ADVANTAGE`."""
        best = max(self.timed, key=self.times_as_fast)
        return best if self.times_as_fast(best) >= ADVANTAGE else self.default


def compare_runtimes(
    bundle: Bundle, seconds: float = SECONDS, progress: Progress | None = None
) -> Compared:
    """Time the bundle on each runtime that can run it here, by what `run` takes for an answer.

    Each runtime loads once and generates once for each kind of answer. Rounds follow, in which the
    runtimes take turns, the order reversed every other time; no round but the first begins after
    `seconds`. UsageError: the bundle has no backbone, is autoregressive, or answers no task.
    NextOmniError: the default cannot run.
    """
    if ComponentName.BACKBONE not in bundle.manifest.components:
        raise UsageError(f"{bundle.path} has no backbone; there is no runtime to choose")
    tasks = _tasks(bundle)
    readers = READERS[bundle.manifest.components[ComponentName.BACKBONE].format]
    found = Compared(readers[0])
    contenders: dict[str, list[Configuration]] = {}
    for index, runtime in enumerate(readers):
        if progress:
            progress(f"load {runtime}", index / len(readers) / 2)
        try:
            contenders[runtime] = _loaded(bundle, runtime, tasks, found)
        except NextOmniError as failure:
            if runtime == found.default:
                raise
            found.left_out[runtime] = str(failure)
    began = time.monotonic()
    for turn in range(ROUNDS):
        if turn and time.monotonic() - began > seconds:
            break
        if progress:
            progress(f"round {turn + 1}", 0.5 + turn / ROUNDS / 2)
        for task, plan in enumerate(tasks):
            for runtime in list(contenders)[:: -1 if turn % 2 else 1]:
                run = timed(contenders[runtime][task], turn)
                found.timed[runtime][plan.name].later.append(run.seconds)
    return found


def _tasks(bundle: Bundle) -> list[Plan]:
    """One task for each modality that the bundle answers in; a video is pictures."""
    config, components = bundle.config, bundle.manifest.components
    if config.causal:
        raise UsageError(f"{bundle.path} is autoregressive; --choose times a flow's steps")
    special = TextTokenizer(bundle.tokenizer_path, config.text).special
    found: dict[str, Plan] = {}
    for plan in plans_of(config):
        if plan.answer != "video" and unable(plan, components, special, config) is None:
            found.setdefault(plan.answer, plan)
    if not found:
        raise UsageError(f"{bundle.path} has the components of no task; export all of them")
    return list(found.values())


def _loaded(
    bundle: Bundle, runtime: str, tasks: list[Plan], found: Compared
) -> list[Configuration]:
    """A runtime's configurations, by task, each of which has run once."""
    began = time.perf_counter()
    model = EdgeModel.from_bundle(bundle, Execution(runtime))
    named_runtime(runtime)  # the library's import
    library, loads = time.perf_counter() - began, dict[str, float]()
    for name in sorted({name for plan in tasks for name in plan.components(bundle.config)}):
        began = time.perf_counter()
        model.session(name)
        loads[name] = time.perf_counter() - began
    configurations, own = [], dict[str, Timed]()
    for plan in tasks:
        task = plan.task(model)
        configurations.append(Configuration(runtime, model, task.sequence, task.options, 0.0))
        first = timed(configurations[-1], 0).seconds
        steps = GenerationOptions.defaults(bundle.config, plan.answer).all_steps
        load = library + sum(loads[name] for name in plan.components(bundle.config))
        own[plan.name] = Timed(load, first, steps / task.options.all_steps)
    found.timed[runtime] = own
    return configurations
