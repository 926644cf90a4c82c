"""What a golden trace must hold to prove anything: each component of its bundle, each task that the
bundle can do, whole. Every fault is an InputError."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import PROCESSOR
from nextomni_edge.errors import InputError
from nextomni_edge.modalities.modality import TEXT
from nextomni_edge.spec import GraphSpec, TensorSpec
from nextomni_edge.tasks import Task, plans_of, unable
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.verify.comparison import Array
from nextomni_edge.verify.components import MARGINS
from nextomni_edge.verify.trajectory import Trajectory

Cases = Mapping[str, tuple[dict[str, Array], dict[str, Array]]]
MAX_STEPS: Final = 64
MAX_FEATURES: Final = 32
_FEATURE = re.compile(r"[a-z0-9_]{1,32}")


def check_data(data: Mapping[str, Any]) -> None:
    """The JSON that goes with the arrays: cases by component, tasks by name, and the features of
    the processor where there are any."""
    cases, tasks = data.get("cases"), data.get("tasks")
    if not isinstance(cases, dict) or not isinstance(tasks, dict):
        raise InputError("cases and tasks must be objects")
    for component, names in cases.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"cases of {component[:80]!a} are no list of names")
        if len(set(names)) != len(names):
            raise InputError(f"cases of {component[:80]!a} have a name twice")
    if PROCESSOR in data:
        _check_processor(data[PROCESSOR])


def _check_processor(features: object) -> None:
    if not isinstance(features, list) or not 0 < len(features) <= MAX_FEATURES:
        raise InputError(f"processor must be a list of 1 to {MAX_FEATURES} names")
    for feature in features:
        if not isinstance(feature, str) or not _FEATURE.fullmatch(feature):
            shown = ascii(feature)[:80]
            raise InputError(f"processor has {shown}, expected names of a-z, 0-9 and _")


def check_trace(
    bundle: Bundle, cases: Mapping[str, Cases], tasks: Mapping[str, tuple[Task, Trajectory]]
) -> None:
    """The whole trace against its bundle."""
    _same_names("component", cases, bundle.manifest.components)
    for component, found in cases.items():
        if not found:
            raise InputError(f"component {component} has no case")
        for case, (inputs, outputs) in found.items():
            _check_case(
                f"component {component}, case {case[:80]!a}",
                bundle.spec(component),
                inputs,
                outputs,
            )
    special = TextTokenizer(bundle.tokenizer_path, bundle.config.text).special
    components = bundle.manifest.components
    config = bundle.config
    able = [plan.name for plan in plans_of(config) if not unable(plan, components, special, config)]
    _same_names("task", tasks, able)
    for name, (task, trajectory) in tasks.items():
        # the rows of a published model's picture are segments, and decoded together
        media = 1 if config.network == "unified" else len(task.sequence.generated())
        _check_task(f"task {name}", task, trajectory, 0 if task.modality == TEXT else media)


def _same_names(kind: str, found: Mapping[str, object], expected: Any) -> None:
    for name in sorted(set(expected) - found.keys()):
        raise InputError(f"{kind} {name} is missing")
    for name in sorted(found.keys() - set(expected)):
        raise InputError(f"{kind} {name[:80]!a} is none of this bundle")


def _check_case(
    where: str, spec: GraphSpec, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> None:
    bound: dict[str, int] = {}
    for kind, specs, arrays in (
        ("input", spec.inputs, inputs),
        ("output", spec.outputs, {k: v for k, v in outputs.items() if k != MARGINS}),
    ):
        _same_names(f"{where}: {kind}", arrays, [tensor.name for tensor in specs])
        for tensor in specs:
            _check_array(f"{where}: {kind}", tensor, arrays[tensor.name], bound)


def _check_array(where: str, tensor: TensorSpec, array: Array, bound: dict[str, int]) -> None:
    if reason := tensor.mismatch(str(array.dtype), array.shape, bound):
        raise InputError(f"{where} {reason}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{where} {tensor.name} has values that are not finite")


def _check_task(where: str, task: Task, trajectory: Trajectory, media: int) -> None:
    """`media`: how many arrays it decodes."""
    generated = task.sequence.generated()
    if not generated:
        raise InputError(f"{where} generates nothing")
    if task.options.steps > MAX_STEPS:
        raise InputError(f"{where} has {task.options.steps} steps, expected at most {MAX_STEPS}")
    for key, arrays in vars(trajectory).items():
        expected = media if key == "decoded" else len(generated)
        if len(arrays) != expected:
            raise InputError(f"{where} has {len(arrays)} arrays {key}, expected {expected}")
    if not all(array.size for array in trajectory.decoded):
        raise InputError(f"{where}: its {task.modality} was not decoded")
    for place, x_t, x_1, margins, tokens in zip(
        generated,
        trajectory.x_t,
        trajectory.x_1,
        trajectory.margins,
        trajectory.tokens,
        strict=True,
    ):
        segment = task.sequence.segments[place]
        if not x_t.shape == x_1.shape == margins.shape or x_t.shape[1:] != tokens.shape:
            raise InputError(
                f"{where}: x_t {x_t.shape}, x_1 {x_1.shape}, margins {margins.shape} and tokens"
                f" {tokens.shape} do not fit each other"
            )
        if not x_t.size or tokens.ndim != segment.tokens.ndim:
            raise InputError(f"{where}: x_t of {x_t.shape} records no step of it")
