"""Calibration data: moments of the model's own trajectories, one in each bin of the flow time
(METHOD 7).

A trajectory goes from noise to data, and its activations with it. So each trajectory gives one
sample to every bin, in both branches of guidance. Each task has as many trajectories as prompts.
The set is therefore stratified over t, task and branch. Memory holds one batch of trajectories at a
time: the tokens of every bin, and a forward of all of them.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from collections.abc import Sequence as Many
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nextomni_edge.bundle import Bundle, bundle_identity
from nextomni_edge.calibration.data.prompts import PromptPart, read_prompts
from nextomni_edge.calibration.data.samples import (
    FORMAT,
    PROVENANCE,
    VERSION,
    CalibrationRecord,
    CalibrationSet,
    Float32,
    Trajectory,
    TrajectoryRecord,
    trajectory_name,
)
from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.files import atomic_write, resumable_directory
from nextomni_edge.formats.tensor_file import write_tensors
from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.media.parts import file_part, text_part
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.tasks import Plan, media, plans_of
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Ids, Sequence

Progress = Callable[[int, int, str], None]

SETTINGS: Final = "settings.json"
BATCH: Final = 8
SEEDS: Final = 2**32  # a set's seed and a trajectory's number make one seed of 64 bits


@dataclass(frozen=True)
class Asked:
    """A sequence to complete, and its media as the encoders read them: (3,h,w) and
    (n,frames_per_token,mels) each."""

    sequence: Sequence
    pixels: tuple[Float32, ...]
    log_mel: tuple[Float32, ...]


class Source(ABC):
    """A source of trajectories. `tasks` names each one's task and the modality of its answer."""

    random: bool

    def __init__(self, model: EdgeModel, tasks: list[tuple[str, Kind]]) -> None:
        self.model, self.tasks = model, tasks

    @abstractmethod
    def asked(self, index: int) -> Asked:
        """The beginning of a trajectory."""

    @abstractmethod
    def trajectories(self, indices: Many[int], bins: int, seed: int) -> list[Trajectory]:
        """The beginnings of one batch, which answers in one modality. Each depends only on its
        index and the seed."""

    @property
    def prompts(self) -> str | None:
        """The digest of the source's prompts."""
        return None

    def options(self, answer: Kind) -> GenerationOptions:
        """The model's own settings, without shortcuts: a shortcut changes no token, but would leave
        bins empty."""
        return GenerationOptions.defaults(
            self.model.config, answer, skip_first_forward=False, stop_early=False
        )


class Generated(Source):
    """The model's own trajectories, with its own settings for the modality of the answer."""

    random = False

    def trajectories(self, indices: Many[int], bins: int, seed: int) -> list[Trajectory]:
        options = self.options(self.tasks[indices[0]][1])
        kept = [_Moments(self.steps(options.steps, bins, seed, index)) for index in indices]
        asked = [self.asked(index) for index in indices]
        finished = generate_batch(
            self.model, [one.sequence for one in asked], options,
            [seed * SEEDS + index for index in indices],
            lambda record: kept[record.request].observe(record),
        )  # fmt: skip
        return [
            moments.trajectory(one, end, options.steps)
            for moments, one, end in zip(kept, asked, finished, strict=True)
        ]

    def steps(self, steps: int, bins: int, seed: int, index: int) -> list[int]:
        """The steps whose moments are recorded."""
        return chosen_steps(steps, bins, seed, index)


class Prompted(Generated):
    """Trajectories over prompts; for calibration, those of the training split. Files are relative
    to the list."""

    def __init__(self, model: EdgeModel, path: Path) -> None:
        self._prompts, self._folder = read_prompts(path)
        self._digest = file_sha256(path / "prompts.jsonl" if path.is_dir() else path)
        super().__init__(model, [(prompt.task, prompt.answer) for prompt in self._prompts])

    @property
    def prompts(self) -> str | None:
        return self._digest

    def asked(self, index: int) -> Asked:
        """InputError: a file that the prompt names is missing, or has another kind."""
        prompt, reader = self._prompts[index], _Reader(self.model)
        turns = [
            Turn(turn.role, tuple(reader.part(self._folder, part) for part in turn.parts))
            for turn in prompt.turns
        ]
        segments = conversation(
            self.model.tokenizer, turns, prompt.answer, config=self.model.config
        )
        sequence = respond(
            segments, prompt.answer, self.model.config, self.model.tokenizer, prompt.count
        )
        return Asked(sequence, tuple(reader.pixels), tuple(reader.log_mel))


def _fitting(model: EdgeModel, components: Collection[str]) -> list[Plan]:
    """The tasks that the components can do and that the model's conversations support."""
    fits = [
        plan
        for plan in plans_of(model.config)
        if set(plan.components(model.config)) <= set(components)
    ]
    return [plan for plan in fits if all(model.tokenizer.special.has(kind) for kind in plan.kinds)]


class Planned(Generated):
    """Trajectories over the tasks that verify runs and the components can do, for a model without
    prompts."""

    def __init__(self, model: EdgeModel, components: Collection[str]) -> None:
        self._plans = _fitting(model, components)
        super().__init__(model, [(plan.name, plan.answer) for plan in self._plans])

    def asked(self, index: int) -> Asked:
        return planned(self.model, self._plans[index])


class _Reader:
    """Makes parts, and keeps the encoders' inputs (see media.parts.Encoder)."""

    def __init__(self, model: EdgeModel) -> None:
        self._model = model
        self.pixels, self.log_mel = list[Float32](), list[Float32]()

    @property
    def config(self) -> ModelConfig:
        return self._model.config

    def part(self, folder: Path, part: PromptPart) -> Part:
        return (
            text_part(part.value)
            if part.kind == "text"
            else file_part(self, part.kind, folder / part.value)
        )

    def encode(self, modality: str, media: Float32) -> Ids:
        if MODALITIES[modality].segments == "image":
            self.pixels.extend(media.reshape(-1, *media.shape[-3:]))
        else:
            self.log_mel.append(media)
        return self._model.encode(modality, media)


class _Moments:
    """Keeps x_t and x_1 of the chosen steps of one trajectory. Lumina-DiMOO may finish a picture
    early: its last step then stands for the chosen ones that are left."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps
        self._x_t: list[tuple[Ids, ...]] = []
        self._x_1: list[tuple[Ids, ...]] = []
        self._last: StepRecord | None = None

    def observe(self, record: StepRecord) -> None:
        self._last = record
        if record.step in self.steps:
            self._keep(record)

    def _keep(self, record: StepRecord) -> None:
        assert record.x_1 is not None  # no step is left out (see Source.options)
        self._x_t.append(record.x_t)
        self._x_1.append(record.x_1)

    def trajectory(self, asked: Asked, finished: Sequence, steps: int) -> Trajectory:
        assert self._last is not None  # every generation has a step
        taken = self.steps[: len(self._x_t)]
        taken += [self._last.step] * (len(self.steps) - len(taken))
        while len(self._x_t) < len(taken):
            self._keep(self._last)
        x_t, x_1 = (
            tuple(np.stack(moments) for moments in zip(*kept, strict=True))
            for kept in (self._x_t, self._x_1)
        )
        ends = tuple(finished.segments[index].tokens for index in asked.sequence.generated())
        return Trajectory(
            asked.sequence,
            np.asarray(taken) / steps,
            x_t,
            x_1,
            ends,
            asked.pixels,
            asked.log_mel,
        )


class Random(Source):
    """Random ids in every segment and random media, `count` for each task of verify's plans that
    the components can do. A quantiser without data would see this."""

    random = True

    def __init__(self, model: EdgeModel, components: Collection[str], count: int) -> None:
        self.plans = [plan for plan in _fitting(model, components) for _ in range(count)]
        super().__init__(model, [(plan.name, plan.answer) for plan in self.plans])

    def asked(self, index: int) -> Asked:
        return planned(self.model, self.plans[index])

    def trajectories(self, indices: Many[int], bins: int, seed: int) -> list[Trajectory]:
        return [
            self._trajectory(index, bins, np.random.default_rng([seed, index])) for index in indices
        ]

    def _trajectory(self, index: int, bins: int, generator: np.random.Generator) -> Trajectory:
        asked = self.asked(index)

        def drawn(modality: str, shape: tuple[int, ...]) -> Ids:
            _, entries = self.model.symbols(modality)
            return generator.integers(0, entries, shape)

        segments = asked.sequence.segments
        given = [
            dataclasses.replace(s, tokens=drawn(s.modality, s.tokens.shape)) if s.frozen else s
            for s in segments
        ]
        answered = [segments[index] for index in asked.sequence.generated()]
        x_t, x_1 = (
            tuple(drawn(s.modality, (bins, *s.tokens.shape)) for s in answered) for _ in range(2)
        )
        finished = tuple(drawn(s.modality, s.tokens.shape) for s in answered)
        t = (np.arange(bins) + generator.random(bins)) / bins
        pixels = tuple(
            generator.uniform(-1, 1, each.shape).astype(np.float32) for each in asked.pixels
        )
        log_mel = tuple(
            generator.uniform(-1, 1.5, mel.shape).astype(np.float32) for mel in asked.log_mel
        )
        return Trajectory(Sequence(tuple(given)), t, x_t, x_1, finished, pixels, log_mel)


def planned(model: EdgeModel, plan: Plan) -> Asked:
    """One of verify's tasks, with its synthetic media."""
    shown = [*plan.given, *plan.earlier]
    pixels = [media(model, kind) for kind in shown if MODALITIES[kind].segments == "image"]
    log_mel = tuple(media(model, "audio") for kind in shown if kind == "audio")
    return Asked(
        plan.task(model).sequence,
        tuple(each for pictures in pixels for each in pictures.reshape(-1, *pictures.shape[-3:])),
        log_mel,
    )


def chosen_steps(steps: int, bins: int, seed: int, index: int) -> list[int]:
    """One step of each bin, drawn by trajectory, ascending: step i of n is at t = i/n. UsageError:
    a bin would have none.

    Shortcuts skip the forward at t = 0 (METHOD 6), and the sample is still true: x_0 is unchanged
    at the next step.
    """
    if steps < bins:
        raise UsageError(
            f"{bins} bins of the flow time, but a generation has {steps} steps: give at most --bins"
            f" {steps}"
        )
    generator = np.random.default_rng([seed, index])
    inside = [[step for step in range(steps) if step * bins // steps == b] for b in range(bins)]
    return [int(generator.choice(candidates)) for candidates in inside]


def collect(
    bundle: Bundle,
    source: Source,
    out: Path,
    bins: int = 8,
    seed: int = 0,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> CalibrationSet:
    """Write a calibration set of `bundle` to the new folder `out`. An interrupted run continues
    (see files).

    UsageError: `out` exists, an interrupted run had other settings, or options that make no sense.
    InputError: a prompt's file.
    """
    if not (1 <= bins <= 64 and 0 <= seed < SEEDS and batch >= 1):
        raise UsageError(
            f"bins {bins}, seed {seed}, batch {batch}: expected 1 to 64, 0 to 2^32 - 1, and at"
            " least 1"
        )
    if not source.tasks:
        raise UsageError(
            f"{bundle.path}: nothing to collect: there is no prompt, or no task that its components"
            " can do"
        )
    named: dict[str, dict[str, float]] = {}
    for answer in sorted({answer for _, answer in source.tasks}):
        options = source.options(answer)
        chosen_steps(options.steps, bins, seed, 0)
        named[answer] = {
            name: getattr(options, name) for name in ("steps", "temperature", "guidance")
        }
    model = bundle_identity(bundle.path)
    record = CalibrationRecord(
        FORMAT, VERSION, model, source.random, seed, bins, source.prompts, named
    )
    with resumable_directory(out) as part:
        _check_settings(part, asdict(record) | {"tasks": source.tasks, "batch": batch})
        records = _fill(part, source, bins, seed, batch, progress)
        record = dataclasses.replace(
            record, trajectories=tuple(records), counts=_counts(records, named, bins)
        )
        with atomic_write(part / PROVENANCE, "w") as file:
            json.dump(asdict(record), file, indent=1, allow_nan=False)
        (part / SETTINGS).unlink()
    return CalibrationSet(out, record)


def _check_settings(part: Path, settings: dict[str, object]) -> None:
    """Check that existing files belong to these very settings."""
    text = json.dumps(settings, sort_keys=True)
    if not (part / SETTINGS).exists():
        (part / "trajectories").mkdir(exist_ok=True)
        with atomic_write(part / SETTINGS, "w") as file:
            file.write(text)
    elif (part / SETTINGS).read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{part} holds an interrupted run with other settings: repeat it with those, or remove"
            " that folder"
        )


def _fill(
    part: Path, source: Source, bins: int, seed: int, batch: int, progress: Progress | None
) -> list[TrajectoryRecord]:
    """Write every missing trajectory. An incomplete batch is made again as a whole, so nothing
    depends on the interruption."""
    done, total = 0, len(source.tasks)
    for indices in _batches([answer for _, answer in source.tasks], batch):
        if progress:
            progress(done, total, source.tasks[indices[0]][0])
        files = [part / trajectory_name(index) for index in indices]
        if not all(file.exists() for file in files):
            for path, trajectory in zip(
                files, source.trajectories(indices, bins, seed), strict=True
            ):
                with atomic_write(path) as file:
                    write_tensors(file, trajectory.tensors())
        done += len(indices)
    if progress:
        progress(total, total, "")
    digests = [file_sha256(part / trajectory_name(index)) for index in range(total)]
    return [
        TrajectoryRecord(task, answer, digest)
        for (task, answer), digest in zip(source.tasks, digests, strict=True)
    ]


def _batches(answers: list[Kind], batch: int) -> list[list[int]]:
    """Batches of trajectories, each of one kind of answer."""
    alike: dict[Kind, list[int]] = {}
    for index, answer in enumerate(answers):
        alike.setdefault(answer, []).append(index)
    return [
        indices[start : start + batch]
        for indices in alike.values()
        for start in range(0, len(indices), batch)
    ]


def _counts(
    records: Many[TrajectoryRecord], generation: Mapping[str, dict[str, float]], bins: int
) -> dict[str, dict[str, tuple[int, ...]]]:
    """The number of samples of each task and branch in each bin: as many as trajectories."""
    found: dict[str, dict[str, int]] = {}
    for record in records:
        branches = found.setdefault(record.task, {})
        guided = generation[record.answer]["guidance"] > 0
        for branch in ("conditional", "unconditional") if guided else ("conditional",):
            branches[branch] = branches.get(branch, 0) + 1
    return {
        task: {branch: (count,) * bins for branch, count in branches.items()}
        for task, branches in found.items()
    }
