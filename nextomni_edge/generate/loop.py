"""The sampling loop (METHOD 3): from noise to tokens, over any runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.noise import Use
from nextomni_edge.generate.blocks import BlockPolicy
from nextomni_edge.generate.denoiser import Denoiser
from nextomni_edge.generate.layout import BatchNoise, Float, Ids, Layout, batches
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.stepper import Stepper
from nextomni_edge.graphs import MAX_BATCH
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.sequence import Sequence


@dataclass(frozen=True)
class StepRecord:
    """One step of one request, per generated segment: x_t before it, x_1 predicted (None where it was not asked for).

    `margins` holds, beside each x_1, how near its draw was to another outcome (see margin.py), `margin` the smallest, infinite
    where there was no draw: all else in a step is computed from the same numbers on every runtime.
    """

    request: int
    step: int
    t: float
    x_t: tuple[Ids, ...]
    x_1: tuple[Ids, ...] | None
    margins: tuple[Float, ...] | None

    @property
    def margin(self) -> float:
        return float("inf") if self.margins is None else min(float(margins.min()) for margins in self.margins)


Observe = Callable[[StepRecord], None]


def generate(model: EdgeModel, sequence: Sequence, options: GenerationOptions, observe: Observe | None = None) -> Sequence:
    """The sequence with its generated segments filled; all of them (a video's frames) advance together.

    UsageError: options that do not go with the sequence. NonFiniteError: NaN or infinity, with step, component and row.
    """
    return generate_batch(model, [sequence], options, observe=observe)[0]


def generate_batch(
    model: EdgeModel,
    sequences: Many[Sequence],
    options: GenerationOptions,
    seeds: Many[int] | None = None,
    observe: Observe | None = None,
) -> list[Sequence]:
    """`generate` for many requests, those of one layout in one forward; each has its own seed, or all the options' seed.

    In exact arithmetic a request's tokens do not depend on the others in the batch.
    """
    seeds = [options.seed] * len(sequences) if seeds is None else seeds
    if len(seeds) != len(sequences):
        raise UsageError(f"{len(seeds)} seeds for {len(sequences)} sequences: give one each")
    for sequence in sequences:
        options.check(model.config, Layout.of(sequence).modality)
    limit = MAX_BATCH // 2 if options.guidance else MAX_BATCH
    finished = BlockPolicy(model, options, limit).lengthen(sequences, seeds)
    for indices in batches(finished, limit):
        denoised = _denoise(model, [finished[i] for i in indices], options, [seeds[i] for i in indices], observe, indices)
        for index, sequence in zip(indices, denoised, strict=True):
            finished[index] = sequence
    return finished


def _denoise(
    model: EdgeModel,
    sequences: Many[Sequence],
    options: GenerationOptions,
    seeds: Many[int],
    observe: Observe | None,
    names: Many[int],
) -> list[Sequence]:
    layout = Layout.of(sequences[0])
    (codebooks, entries), paths = model.symbols(layout.modality), model.paths(layout.modality)
    noise, stepper = BatchNoise(seeds, layout, codebooks), Stepper(options.stepper, options.steps, paths)
    denoiser = Denoiser(model, sequences, layout, options)
    x_t = noise.start(entries)
    for step in range(options.steps):
        x_1, margins = None, None
        if not (options.skip_first_forward and stepper.idle(step)):
            try:
                x_1, margins = denoiser.predict(x_t, step, noise, with_margins=observe is not None)
            except NonFiniteError as error:
                raise NonFiniteError(f"step {step} of {options.steps}: {error}") from error
        if observe:
            for record in _records(names, layout, step, options.steps, x_t, x_1, margins):
                observe(record)
        if x_1 is None:
            continue
        if options.stop_early and options.temperature == 0 and (x_1 == x_t).all():
            break
        x_t = stepper(x_t, x_1, step, noise.uniform(step, Use.JUMP), noise.uniform(step, Use.TARGET))
    return [layout.fill(sequence, tokens) for sequence, tokens in zip(sequences, x_t, strict=True)]


def _records(
    names: Many[int], layout: Layout, step: int, steps: int, x_t: Ids, x_1: Ids | None, margins: Float | None
) -> Iterator[StepRecord]:
    for place, request in enumerate(names):
        predicted = None if x_1 is None else layout.split(x_1[place])
        beside = None if margins is None else layout.split(margins[place])
        yield StepRecord(request, step, step / steps, layout.split(x_t[place]), predicted, beside)
