"""A recipe's stages as a data file, stages.json: rates, contexts, batches and mixtures."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from nextomni_edge.config import ModelConfig, named_config
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.strict_json import read_dataclass, read_json
from nextomni_edge.modalities.table import MODALITIES, Kind
from nextomni_edge.train.loop import TrainOptions

STAGES: Final = "stages.json"
MAX_STAGES: Final = 2**20


@dataclass(frozen=True)
class Source:
    """One kind of batches: `weight` of them among as many as the weights of the mixture's sources
    make together. `given`: the media before the answer; text is always given."""

    name: str
    weight: int
    answer: Kind
    given: tuple[Kind, ...] = ()

    @property
    def media(self) -> tuple[Kind, ...]:
        """The media of a sequence, its answer's included."""
        return self.given if self.answer == "text" else (*self.given, self.answer)

    def rows(self, config: ModelConfig, context: int) -> tuple[int, int]:
        """Rows of the prompt and of the answer in a sequence of `context` rows. Media have their
        largest size; text takes what they leave, in two equal parts where it is the answer too.
        InputError: they leave nothing."""
        media = sum(media_rows(config, kind) for kind in self.given)
        answer = 0 if self.answer == "text" else media_rows(config, self.answer)
        if media + answer >= context:
            raise InputError(
                f"source {self.name!r}: its media are {media + answer} rows, and the context is"
                f" {context}"
            )
        answer = answer or (context - media) // 2
        return context - answer, answer


def media_rows(config: ModelConfig, kind: str) -> int:
    """Rows of the backbone that the largest medium of a kind takes."""
    record = MODALITIES[kind]
    return int(np.prod(record.shape(config, record.most(config))[:-1]))


@dataclass(frozen=True)
class Stage:
    """A stage of a training.

    trains: the flow, or the warm-up of one codec. steps: optimiser steps. sequences: of a step,
    over all processes (of a warm-up: media). batch: of these, what a process computes at once.
    context: rows of a sequence. slower: part of the model → factor of its rate; 0 freezes it.
    reconstruct_every: batches between two with the reconstruction's losses; 0 is never. perceptual:
    weight of the perceptual distance in the warm-up of pictures. accounts:
    the fields that accounts of the paper give. Every other figure is ours. The rest has the names
    of `TrainOptions`, and a field that is left out has its value.
    """

    name: str
    steps: int
    sequences: int
    batch: int
    mixture: tuple[Source, ...]
    trains: Literal["flow", "image", "audio"] = "flow"
    context: int | None = None
    rate: float = TrainOptions.rate
    warm_up: int = TrainOptions.warm_up
    decay: float = TrainOptions.decay
    weight_decay: float = TrainOptions.weight_decay
    averaging: float = TrainOptions.averaging
    clip: float = TrainOptions.clip
    precision: Literal["no", "bf16"] = TrainOptions.precision
    shard: bool = TrainOptions.shard
    recompute: bool = TrainOptions.recompute
    compile: bool = TrainOptions.compile
    condition_dropout: float = 0.0
    reconstruct_every: int = 0
    perceptual: float = 0.0
    slower: dict[str, float] = field(default_factory=dict)
    accounts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = {each.name for each in dataclasses.fields(self)}
        counts = (self.steps, self.sequences, self.batch, *(each.weight for each in self.mixture))
        unknown = sorted({*self.accounts} - names)
        for holds, sentence in (
            (self.mixture, "mixture is empty"),
            (min(counts) >= 1, "steps, sequences, batch and weights must be 1 or more"),
            (not unknown, f"accounts names {unknown}, which are no fields"),
            (self.rate > 0 and self.warm_up >= 1, "rate and warm_up must be positive"),
            (all("text" not in each.given for each in self.mixture), "text is always given"),
            (min(self.slower.values(), default=0.0) >= 0, "slower has a negative factor"),
            (self.perceptual >= 0, "perceptual is negative"),
            (not self.perceptual or self.trains == "image", "perceptual is for trains: image"),
            ((self.trains == "flow") == bool(self.context), "a flow has a context, no warm-up has"),
            (self.sequences % self.batch == 0, "sequences must be a multiple of batch"),
        ):
            if not holds:
                raise InputError(f"stage {self.name!r}: {sentence}")

    @property
    def tokens(self) -> int:
        """Rows of the backbone that the stage trains on at most: every sequence at its context."""
        return self.steps * self.sequences * (self.context or 0)

    def factor(self, parameter: str) -> float:
        """What the rate of the parameter of this name is multiplied by."""
        return min((by for part, by in self.slower.items() if part in parameter), default=1.0)

    def frozen(self, parameter: str) -> bool:
        return self.factor(parameter) == 0

    def options(self, processes: int, **changes: Any) -> TrainOptions:
        """The options of each of `processes`. UsageError: they cannot share out a step."""
        if self.sequences % (self.batch * processes):
            raise UsageError(
                f"stage {self.name!r}: a step's {self.sequences} sequences are no whole number of"
                f" batches of {self.batch} on each of {processes} processes"
            )
        own = {each.name: getattr(self, each.name) for each in _shared()}
        accumulate = self.sequences // (self.batch * processes)
        return TrainOptions(**(own | {"accumulate": accumulate} | changes))

    def source(self, batch: int) -> tuple[Source, int]:
        """The source of a batch, and the batch's number among those of its source."""
        pattern = _pattern(tuple(source.weight for source in self.mixture))
        rounds, place = divmod(batch, len(pattern))
        index = int(pattern[place])
        before = int((pattern[:place] == index).sum())
        return self.mixture[index], rounds * self.mixture[index].weight + before


@functools.cache
def _pattern(weights: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The sources of one round of batches, shuffled once and for all."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(weights)), weights))


def _shared() -> list[dataclasses.Field[Any]]:
    """The fields of a stage that a Trainer's options have too."""
    names = {each.name for each in dataclasses.fields(TrainOptions)}
    return [each for each in dataclasses.fields(Stage) if each.name in names]


@dataclass(frozen=True)
class Stages:
    """What stages.json holds. `model`: the name of a known config, where the recipe has no
    config.json."""

    stages: tuple[Stage, ...]
    model: str | None = None

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len({*names}) < len(names):
            raise InputError(f"stages: found {names}, expected different names, at least one")

    def __getitem__(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


def read_stages(path: Path) -> Stages:
    """The stages of a file. InputError: it is not there, or says what cannot be."""
    return read_dataclass(Stages, read_json(path, MAX_STAGES), str(path))


def recipe_stages(recipe: Path) -> Stages:
    """The stages of a recipe's folder. InputError: it declares none."""
    if not (recipe / STAGES).is_file():
        raise InputError(
            f"{recipe}: no {STAGES} in it, so its stages are not known; examples/nextomni has one"
        )
    return read_stages(recipe / STAGES)


def recipe_config(recipe: Path) -> ModelConfig:
    """The config of a recipe's folder: its config.json, or the known one that its stages name.
    InputError: it has neither."""
    if (recipe / "config.json").is_file() or not (recipe / STAGES).is_file():
        return ModelConfig.load(recipe / "config.json")
    name = read_stages(recipe / STAGES).model
    if name is None:
        raise InputError(f"{recipe}: neither config.json nor a model in {STAGES}")
    return named_config(name)
