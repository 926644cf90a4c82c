"""Decoding by commits (METHOD 9): masked rows draw x_1, the best are written and stay. The loop of
published masked models, over any runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nextomni_edge.decoding import LOGARITHMIC, CommitConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.flow.commit import (
    Penalty,
    Turn,
    chosen,
    gumbel,
    noised,
    propose,
    score_temperature,
    step_count,
    turns,
)
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.penalty import nearer_first, without_repeats
from nextomni_edge.generate.batch import Batch, Mask
from nextomni_edge.generate.draw import Draw
from nextomni_edge.generate.logit_cache import LogitTrunk
from nextomni_edge.generate.meter import STEP, Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids, Layout
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.generate.trunk import Trunk
from nextomni_edge.runtimes.base import NonFiniteError

OWN = ("repeat_penalty", "position_penalty", "draw_temperature", "codebook_penalty")  # of a rule


class CommitNoise(Protocol):
    """The draws of one request; recorded ones may stand in for ours. Where a token has K sub-codes,
    row r·K + k is sub-code k of token r."""

    def symbols(self, step: int, row: int, vocabulary: int) -> Float:
        """Standard Gumbel noise (vocabulary,) float64 of a generated row."""
        ...

    def scores(self, step: int, rows: int) -> Float:
        """Uniform draws (rows,) in [0, 1) for the score of every generated row."""
        ...


class CountedNoise:
    """Counter-based noise of one request, by the segment that a row stands in and its place
    there: no batch, block or runtime shifts it."""

    def __init__(self, seed: int, layout: Layout, codebooks: int = 1) -> None:
        self.noise, self.layout, self.codebooks = Noise(seed), layout, codebooks
        self.places = [
            (at, row) for at, length in layout.places for row in range(length * codebooks)
        ]

    def symbols(self, step: int, row: int, vocabulary: int) -> Float:
        segment, place = self.places[row]
        return np.asarray(
            gumbel(self.noise.symbols(segment, step, Use.SYMBOL, place, vocabulary)), np.float64
        )

    def scores(self, step: int, rows: int) -> Float:
        draws = [
            self.noise.uniform(at, step, Use.SCORE, length, self.codebooks).reshape(-1)
            for at, length in self.layout.places
        ]
        return np.concatenate(draws)[:rows]


@dataclass
class Progress:
    """Where one request of R rows stands: its plan of steps, and the masks of the block at work.
    `shift` is that of the path's κ."""

    rule: CommitConfig
    plan: tuple[Turn, ...]
    total: int
    shift: float = 1.0
    at: int = 0

    @classmethod
    def of(cls, rule: CommitConfig, masked: Mask, steps: int, shift: float) -> Progress:
        return cls(rule, turns(rule, len(masked), steps), int(masked.sum()), shift)

    def turn(self, masked: Mask, x_t: Ids) -> Turn | None:
        """The next step of rows x_t (R,); None where nothing is left to write, or where a finished
        block has ended the answer. With a threshold a block goes on until it is full, and the next
        begins then."""
        if not masked.any():
            return None
        if self.rule.threshold > 0.0:
            first = int(masked.argmax())
            self.at = next(at for at, turn in enumerate(self.plan) if first < turn.stop)
        if self.at >= len(self.plan):
            return None
        turn = self.plan[self.at]
        if turn.step == 0 and turn.start and x_t[turn.start - 1] in self.rule.ends:
            return None
        if turn.step == 0 and self.rule.count == "even":
            self.total = int(masked[turn.start : turn.stop].sum())
        return turn

    def count(self, eligible: Mask, turn: Turn) -> int:
        rows = len(eligible) if self.rule.total == "all" else self.total
        left = int(eligible.sum())
        return step_count(self.rule, rows, left, turn.step, turn.steps, self.shift)


class Unmasking:
    """A batch on its way: `x_t` (B,R,K) is where it stands. It begins with what its generated
    segments hold, where a given symbol is kept and a mask is to be filled. Each of a token's K
    sub-codes is a row of its own to the commit step: N = R·K.

    UsageError: a modality that is not decoded so, or numbers that do not divide.
    """

    def __init__(
        self,
        model: EdgeModel,
        batch: Batch,
        options: GenerationOptions,
        meter: Meter,
        noises: Many[CommitNoise] = (),
    ) -> None:
        path = model.config.path(batch.modality)
        self.codebooks, entries = model.symbols(batch.modality)
        if path.commit is None:
            raise UsageError(f"stepper commit: {batch.modality} of this model has no commit step")
        self.model, self.batch, self.options, self.meter = model, batch, options, meter
        self.rule = ruled(path.commit, options, self.codebooks)
        self.mask = entries if path.mask is None else path.mask
        self.noises = noises or [
            CountedNoise(seed, layout, self.codebooks)
            for seed, layout in zip(batch.seeds, batch.layouts, strict=True)
        ]
        self.real: Mask = np.repeat(batch.real, self.codebooks, axis=1)
        self.x_t: Ids = np.zeros((*batch.real.shape, self.codebooks), np.int64)
        for own, sequence, layout in zip(self.x_t, batch.sequences, batch.layouts, strict=True):
            held = [sequence.segments[at].tokens for at in layout.segments]
            tokens = [each.reshape(-1, self.codebooks) for each in held]
            own[: len(layout.rows)] = np.concatenate(tokens)
        shift = path.shift if options.shift is None else options.shift
        self.progress = [
            Progress.of(self.rule, self._own(request, self.masked), options.steps, shift)
            for request in range(len(batch))
        ]
        trunk = LogitTrunk if options.cache.policy == "logits" else Trunk
        self.trunk, self.draw = (
            trunk(model, batch, options, meter),
            Draw(model, batch, options, meter),
        )

    @property
    def masked(self) -> Mask:
        """Rows (B,N) that are still to be written."""
        found: Mask = (self.flat == self.mask) & self.real
        return found

    @property
    def flat(self) -> Ids:
        """x_t by rows of the commit step, (B,N)."""
        return self.x_t.reshape(len(self.x_t), -1)

    def _own(self, request: int, x: Float) -> Float:
        """The numbers of one request, out of (B,N), without padding."""
        values: Float = x[request, : len(self.batch.layouts[request].rows) * self.codebooks]
        return values

    def steps(self, names: Many[int], margins: bool) -> Iterator[StepRecord]:
        """All steps, with the records of each; they hold margins in any case, which cost nothing
        here. NonFiniteError names the step."""
        step, more = 0, True
        while more:
            with self.meter.part(STEP):
                more = yield from self._step(step, names)
            step += 1

    def _step(self, step: int, names: Many[int]) -> Generator[StepRecord, None, bool]:
        """One step of every request that is not done; its value is False where all are."""
        due = self._due()
        if not any(due):
            return False
        self.meter.steps += len(self.batch)
        eligible, x_1, score, gap = self._predict(step, due)
        written, margins = np.zeros_like(eligible), np.full(eligible.shape, np.inf)
        for request, turn in enumerate(due):
            if turn is not None:
                self._choose(request, turn, step, eligible, score, gap, written, margins)
        yield from self._records(names, step, x_1, margins)
        with self.meter.part("flow"):
            self.x_t = np.where(written.reshape(self.x_t.shape), x_1, self.x_t)
        self.meter.jumps += int(written.sum())
        return True

    def follow(self, step: int, x_t: Ids) -> tuple[Mask, Ids]:
        """The step at another run's x_t (B,R,K), without writing: the rows (B,N) that may be
        written and x_1 (B,R,K). So a cache is compared with the run that keeps nothing."""
        self.x_t = x_t.copy()
        due = self._due()
        eligible, x_1, _, _ = self._predict(step, due)
        for progress, turn in zip(self.progress, due, strict=True):
            progress.at += turn is not None
        return eligible, x_1

    def _due(self) -> list[Turn | None]:
        """The next step of each request."""
        masked = self.masked
        return [
            progress.turn(*(self._own(request, each) for each in (masked, self.flat)))
            for request, progress in enumerate(self.progress)
        ]

    def _predict(self, step: int, due: list[Turn | None]) -> tuple[Mask, Ids, Float, Float]:
        """Rows (B,N) that may be written in this step, and what `_propose` gives for them."""
        rows = np.arange(self.real.shape[1])
        before = np.array([rows < (turn.stop if turn else 0) for turn in due])
        first = np.array([rows >= (turn.start if turn else 0) for turn in due])
        eligible, active = self.masked & before, before & first & self.real
        self.trunk.active = active.reshape(self.x_t.shape).any(axis=2)
        tokens = eligible.reshape(self.x_t.shape).any(axis=2)
        self.trunk.at(step / self.options.steps)
        try:
            self.trunk.refresh(self.x_t, tokens, step == self.options.steps - 1)
            return eligible, *self._propose(step, eligible)
        except NonFiniteError as error:
            raise NonFiniteError(f"step {step} of {self.options.steps}: {error}") from error

    def _propose(self, step: int, eligible: Mask) -> tuple[Ids, Float, Float]:
        """x_1 (B,R,K), its score and how near its draw was to another (B,N), of the rows that may
        be written; elsewhere x_t stands, and the others are 0 and infinite."""
        x_1 = self.x_t.copy()
        score, gap = np.zeros(eligible.shape), np.full(eligible.shape, np.inf)
        hidden, temperature = self.trunk.hidden, self.rule.draw_temperature
        temperature = self.options.temperature if temperature is None else temperature
        tokens = np.flatnonzero(eligible.reshape(-1, self.codebooks).any(axis=1))
        flat = hidden.reshape(len(hidden), -1, hidden.shape[3])
        for block, logits in self.draw.blocks(flat, tokens):
            with self.meter.part("draw"):
                rows, logits = self._rows(block, logits, eligible)
                noise = self._symbols(step, rows, logits.shape[1])
                found = propose(logits, self.rule, temperature, noise, self._penalty(step, rows))
                x_1.reshape(-1)[rows] = found.x_1
                last = self.rule.codebook_penalty * (rows % self.codebooks)
                score.reshape(-1)[rows] = found.score - last
                gap.reshape(-1)[rows] = found.gap
        return x_1, score, gap

    def _rows(self, block: Ids, logits: Float, eligible: Mask) -> tuple[Ids, Float]:
        """The rows (n,) of tokens (m,) that may be written, and their logits (n,V) of (m,K,V)."""
        if self.codebooks == 1:
            return block, logits[:, 0]
        rows = (block[:, None] * self.codebooks + np.arange(self.codebooks)).reshape(-1)
        kept = eligible.reshape(-1)[rows]
        return rows[kept], logits.reshape(len(rows), -1)[kept]

    def _symbols(self, step: int, block: Ids, vocabulary: int) -> Callable[[slice], Float]:
        """Gumbel noise of some of a block's rows."""
        length = self.real.shape[1]

        def noise(part: slice) -> Float:
            places = [divmod(int(row), length) for row in block[part]]
            return np.stack(
                [self.noises[request].symbols(step, row, vocabulary) for request, row in places]
            )

        return noise

    def _penalty(self, step: int, block: Ids) -> Penalty | None:
        """The rule's penalties on some of a block's rows; None where it has none."""
        rule, length = self.rule, self.real.shape[1]
        if rule.repeat_penalty == rule.position_penalty == 1.0:
            return None
        exempt = (self.mask, *rule.repeat_free)

        def weaken(part: slice, logits: Float) -> Float:
            out = logits.copy()
            requests, places = np.divmod(block[part], length)
            for request in np.unique(requests):
                own, at = self.masked[request], requests == request
                if step > 0:
                    held = self._own(request, self.flat)
                    seen = np.setdiff1d(held, exempt)
                    out[at] = without_repeats(out[at], seen, rule.repeat_penalty)
                ranks = np.cumsum(own)[places[at]] - 1
                out[at] = nearer_first(out[at], ranks, int(own.sum()), rule.position_penalty)
            return out

        return weaken

    def _choose(
        self,
        request: int,
        turn: Turn,
        step: int,
        eligible: Mask,
        score: Float,
        gap: Float,
        written: Mask,
        margins: Float,
    ) -> None:
        """Mark the rows of one request that are written, and how near each decision was."""
        progress, own = self.progress[request], self._own
        rows = own(request, eligible)
        temperature = score_temperature(self.rule, self.options.temperature, turn.step, turn.steps)
        uniform = self.noises[request].scores(step, len(rows))
        ranked = noised(own(request, score), self.rule, temperature, uniform)
        count = progress.count(rows, turn)
        found = chosen(ranked, rows, count, self.rule.threshold)
        progress.at += 1
        written[request, : len(rows)] = found
        margins[request, : len(rows)] = np.minimum(
            own(request, gap), _distances(ranked, rows, found, self.rule.threshold)
        )

    def _records(
        self, names: Many[int], step: int, x_1: Ids, margins: Float
    ) -> Iterator[StepRecord]:
        batch = self.batch
        for place, request in enumerate(names):
            by_code = margins.reshape(x_1.shape)
            parts = (batch.split(place, array) for array in (self.x_t, x_1, by_code))
            # a threshold may take more steps than were asked for
            t = min(1.0, step / self.options.steps)
            yield StepRecord(request, step, t, *parts)


def ruled(rule: CommitConfig, options: GenerationOptions, codebooks: int = 1) -> CommitConfig:
    """The model's rule with what the options say in place of it. A threshold is one of
    probabilities: where the rule's score has another scale, p takes its place without noise, as
    Fast-dLLM decodes Dream. UsageError: a penalty on symbols of several codebooks."""
    if options.block is not None:
        rule = dataclasses.replace(rule, block=options.block)
    if options.threshold is not None:
        rule = dataclasses.replace(rule, threshold=options.threshold)
    if options.threshold and rule.score in LOGARITHMIC:
        rule = dataclasses.replace(rule, score="probability", score_noise="none")
    if options.top_k or options.top_p < 1.0:
        rule = dataclasses.replace(rule, top_k=options.top_k, top_p=options.top_p)
    given = {name: getattr(options, name) for name in OWN if getattr(options, name) is not None}
    rule = dataclasses.replace(rule, **given)
    if codebooks > 1 and not rule.repeat_penalty == rule.position_penalty == 1.0:
        raise UsageError("penalties on symbols and places are for one code a token: leave them out")
    return rule


def _distances(score: Float, eligible: Mask, found: Mask, threshold: float) -> Float:
    """By how much each eligible score is away from the border between written and not."""
    out = np.full(score.shape, np.inf)
    below, above = score[eligible & ~found], score[found]
    if threshold > 0.0 and len(above) > 1:
        out[eligible] = np.abs(score[eligible] - threshold)
    elif len(below) and len(above):
        low, high = below.max(), above.min()
        out[eligible] = np.where(found[eligible], score[eligible] - low, high - score[eligible])
    return out
