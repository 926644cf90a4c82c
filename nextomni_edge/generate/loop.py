"""The sampling loop (METHOD 3): from noise to tokens, over any runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator
from collections.abc import Sequence as Many

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.noise import Use
from nextomni_edge.flow.path import COMMIT
from nextomni_edge.generate.batch import Batch, BatchNoise, batches
from nextomni_edge.generate.blocks import BlockPolicy
from nextomni_edge.generate.denoiser import Denoiser
from nextomni_edge.generate.lead import Parts
from nextomni_edge.generate.meter import STEP, Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids, Layout
from nextomni_edge.generate.stepper import stepper
from nextomni_edge.generate.steps import Observe, StepRecord, Steps, StoppedError, run_through
from nextomni_edge.generate.unmask import Unmasking
from nextomni_edge.graphs import MAX_BATCH
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.sequence import Sequence

Denoise = Callable[[Many[Sequence], GenerationOptions, Many[int]], Steps]


def generate(
    model: EdgeModel,
    sequence: Sequence,
    options: GenerationOptions,
    observe: Observe | None = None,
    meter: Meter | None = None,
) -> Sequence:
    """The sequence with its generated segments filled; all of them (a video's frames) advance
    together.

    UsageError: options that do not go with the sequence. StoppedError: NaN or infinity, with step,
    component and row.
    """
    return generate_batch(model, [sequence], options, observe=observe, meter=meter)[0]


def generate_batch(
    model: EdgeModel,
    sequences: Many[Sequence],
    options: GenerationOptions,
    seeds: Many[int] | None = None,
    observe: Observe | None = None,
    meter: Meter | None = None,
) -> list[Sequence]:
    """`generate` for many requests, those of one layout in one forward; each has its own seed, or
    all the options' seed.

    In exact arithmetic a request's tokens do not depend on the others in the batch. `meter` adds up
    what it costs. StoppedError's `partial` holds all requests: done, stopped in their midst, or as
    they were given.
    """
    return run_through(
        steps(model, sequences, options, seeds, meter, margins=observe is not None), observe
    )


def steps(
    model: EdgeModel,
    sequences: Many[Sequence],
    options: GenerationOptions,
    seeds: Many[int] | None = None,
    meter: Meter | None = None,
    margins: bool = False,
) -> Steps:
    """`generate_batch` as a generator: a record of each request at each step, and in the end the
    finished sequences as the generator's value. Closing the generator stops the computation.

    `margins`: measure how near each draw was to another outcome, which costs a little.
    """
    seeds, meter = [options.seed] * len(sequences) if seeds is None else seeds, meter or Meter()
    if len(seeds) != len(sequences):
        raise UsageError(f"{len(seeds)} seeds for {len(sequences)} sequences: give one each")
    for sequence in sequences:
        options.check(model.config, Layout.of(sequence).modality)
    meter.requests += len(sequences)
    denoise = functools.partial(_together, model, meter, margins)
    if not options.lead_tokens:
        return (yield from denoise(sequences, options, seeds))
    return (yield from _in_parts(Parts(model, sequences, options), denoise, seeds))


def _in_parts(parts: Parts, denoise: Denoise, seeds: Many[int]) -> Steps:
    """The first tokens, then what stands behind them."""
    try:
        leads = yield from denoise(parts.leads(), parts.lead_options, seeds)
    except StoppedError as error:
        raise StoppedError(f"first tokens: {error}", parts.joined(error.partial, {})) from error
    rests = parts.rests(leads)
    behind = denoise(list(rests.values()), parts.rest_options, [seeds[index] for index in rests])
    try:
        done = yield from parts.behind(leads, list(rests), behind)
    except StoppedError as error:
        stopped = parts.joined(leads, dict(zip(rests, error.partial, strict=True)))
        raise StoppedError(f"behind the first tokens: {error}", stopped) from error
    return parts.joined(leads, dict(zip(rests, done, strict=True)))


def _together(
    model: EdgeModel,
    meter: Meter,
    margins: bool,
    sequences: Many[Sequence],
    options: GenerationOptions,
    seeds: Many[int],
) -> Steps:
    """All generated rows of each request."""
    limit = MAX_BATCH // 2 if options.guidance else MAX_BATCH
    blocks, finished = BlockPolicy(model, options, limit, meter), list(sequences)
    try:
        finished = blocks.lengthen(sequences, seeds)
        for indices in batches(finished, limit, options.padding):
            batch = Batch([finished[i] for i in indices], [seeds[i] for i in indices])
            run: Run | Unmasking = (
                Unmasking(model, batch, options, meter)
                if options.stepper == COMMIT
                else Run(model, batch, options, blocks, meter)
            )
            try:
                yield from run.steps(indices, margins)
            finally:
                for index, sequence in zip(indices, run.batch.fill(run.x_t), strict=True):
                    finished[index] = sequence
    except NonFiniteError as error:
        raise StoppedError(str(error), finished) from error
    return finished


class Run:
    """A batch on its way: `x_t` (B,R,K) is where it stands."""

    def __init__(
        self,
        model: EdgeModel,
        batch: Batch,
        options: GenerationOptions,
        blocks: BlockPolicy,
        meter: Meter,
    ) -> None:
        self.model, self.batch, self.options, self.blocks, self.meter = (
            model,
            batch,
            options,
            blocks,
            meter,
        )
        paths = model.paths(batch.modality)
        self.codebooks, self.stepper = len(paths), stepper(options, paths)
        self.noise = BatchNoise(batch, self.codebooks)
        self.denoiser = Denoiser(model, batch, options, meter)
        self.x_t = self.noise.start(paths)

    def steps(self, names: Many[int], margins: bool) -> Iterator[StepRecord]:
        """All steps, with the records of each. NonFiniteError names the step."""
        for step in range(self.options.steps):
            with self.meter.part(STEP):
                moving = yield from self._step(step, names, margins)
            if not moving:
                break

    def _step(
        self, step: int, names: Many[int], with_margins: bool
    ) -> Generator[StepRecord, None, bool]:
        """One step; its value is False where nothing can move any more."""
        options = self.options
        self.meter.steps += len(self.batch)
        x_1, margins = None, None
        if not (options.shortcuts.skip_first_forward and self.stepper.idle(step)):
            try:
                x_1, margins = self._predict(step, with_margins)
            except NonFiniteError as error:
                raise NonFiniteError(f"step {step} of {options.steps}: {error}") from error
        yield from self._records(names, step, x_1, margins)
        if x_1 is None:
            return True
        may_end = options.shortcuts.stop_early and not self.denoiser.trunk.changes_later
        if may_end and self.stepper.settled(self.x_t, x_1):
            return False
        with self.meter.part("flow"):
            x_next = self.stepper(self.x_t, x_1, step, self.noise)
        self.meter.jumps += int((x_next != self.x_t).sum())
        self.x_t = x_next
        return True

    def _predict(self, step: int, with_margins: bool) -> tuple[Ids, Float | None]:
        t = self.stepper.times[step]
        if self.blocks.interleaves(t):
            self._extend()
        self.denoiser.trunk.at(t)
        due = None
        if self.denoiser.needs_due:
            due = self.stepper.due(self.x_t, self.denoiser.x_1, step, self.noise)
        last = step == self.options.steps - 1
        return self.denoiser.predict(
            self.x_t, self.noise.uniform(step, Use.X_1), with_margins, due, last
        )

    def _extend(self) -> None:
        """Let responses that need it grow by a block."""
        longer = self.blocks.extend(self.batch, self.x_t, self.denoiser)
        if longer is not None:
            self.batch, self.x_t = longer
            self.noise = BatchNoise(self.batch, self.codebooks)
            self.denoiser = Denoiser(self.model, self.batch, self.options, self.meter)

    def _records(
        self, names: Many[int], step: int, x_1: Ids | None, margins: Float | None
    ) -> Iterator[StepRecord]:
        batch, t = self.batch, self.stepper.times[step]
        for place, request in enumerate(names):
            predicted = None if x_1 is None else batch.split(place, x_1)
            beside = None if margins is None else batch.split(place, margins)
            yield StepRecord(request, step, t, batch.split(place, self.x_t), predicted, beside)
