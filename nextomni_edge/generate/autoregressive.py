"""Greedy decoding of a causal model's text, one token a forward over kept keys and values: the
baseline of the flow."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many

import numpy as np

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.sampling import sample_x_1
from nextomni_edge.generate.batch import Mask, batches
from nextomni_edge.generate.draw import decision_margin
from nextomni_edge.generate.meter import STEP, Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids
from nextomni_edge.generate.steps import (
    NOT_DRAWN,
    Observe,
    StepRecord,
    Steps,
    StoppedError,
    run_through,
)
from nextomni_edge.graphs import MAX_BATCH
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.sequence import Sequence

GREEDY = GenerationOptions(temperature=0.0)


def greedy(
    model: EdgeModel,
    sequences: Many[Sequence],
    observe: Observe | None = None,
    meter: Meter | None = None,
) -> list[Sequence]:
    """The sequences with their last segment, a text, filled with the likeliest next token in each
    place: up to <EOS> with <PAD> after it, or to the end of the segment. Sequences of one layout
    share their forwards.

    A record for `observe` holds in x_t the tokens so far, and in x_1 the next one at its place, −1
    elsewhere. UsageError: the model is a flow, or the generated segment is not text at the end.
    StoppedError: NaN or infinity.
    """
    return run_through(greedy_steps(model, sequences, meter, margins=observe is not None), observe)


def greedy_steps(
    model: EdgeModel,
    sequences: Many[Sequence],
    meter: Meter | None = None,
    margins: bool = False,
) -> Steps:
    """`greedy` as a generator: a record of each request that has not ended, token after token, and
    in the end the finished sequences as its value. Closing the generator stops the decoding.

    `margins`: measure how near each choice was to another one.
    """
    for sequence in sequences:
        _check(model, sequence)
    finished, meter = list(sequences), meter or Meter()
    for indices in batches(sequences, MAX_BATCH):
        answer = Answer(model, [sequences[index] for index in indices], meter)
        try:
            yield from answer.decode(indices, margins)
        except NonFiniteError as error:
            raise StoppedError(f"token {answer.place}: {error}", finished) from error
        finally:
            for index, tokens in zip(indices, answer.tokens, strict=True):
                finished[index] = sequences[index].with_tokens(
                    len(sequences[index].segments) - 1, tokens
                )
    return finished


def _check(model: EdgeModel, sequence: Sequence) -> None:
    last, limit = len(sequence.segments) - 1, model.config.backbone.max_positions
    if not model.config.causal:
        raise UsageError(
            "this model is a flow, which no next token is read from; generate with the sampling"
            " loop"
        )
    if sequence.generated() != (last,) or sequence.segments[last].modality != "text":
        raise UsageError(
            "an autoregressive model answers in text, at the end of the sequence; ask for text"
        )
    if sequence.length > limit:
        raise UsageError(
            f"sequence of {sequence.length} positions: the model takes at most {limit}; give it"
            " less or ask for less"
        )


class Answer:
    """B unfinished answers of one layout: `tokens` (B,n), <PAD> from `place` on. `state` keeps the
    `before` rows so far."""

    def __init__(self, model: EdgeModel, sequences: list[Sequence], meter: Meter) -> None:
        self.model, self.meter, self.special = model, meter, model.tokenizer.special
        self.prompts = [Sequence(sequence.segments[:-1]) for sequence in sequences]
        self.tokens: Ids = np.full(
            (len(sequences), len(sequences[0].segments[-1])), self.special.pad, np.int64
        )
        self.ended: Mask = np.zeros(len(sequences), np.bool_)
        self.place = 0
        self.before, self.state = 0, model.state(len(sequences), sequences[0].length)
        meter.requests += len(sequences)
        meter.peak_state_bytes = max(meter.peak_state_bytes, self.state.nbytes)

    def decode(self, names: Many[int], margins: bool) -> Iterator[StepRecord]:
        """Token after token until all have ended. NonFiniteError: a component's output is not
        finite."""
        with self.meter.part("embed"):
            embeddings = self.model.sequence_embeddings(self.prompts)
        for place in range(self.tokens.shape[1]):
            self.place = place
            with self.meter.part(STEP):
                logits = self._logits(self._forward(embeddings))
                greatest = sample_x_1(logits, np.zeros(len(logits)), temperature=0.0)
                chosen = np.where(self.ended, self.special.pad, greatest)
                near = decision_margin(logits, np.zeros(len(logits)), GREEDY) if margins else None
                yield from self._records(names, chosen, near)
                self.tokens[:, self.place] = chosen
                self.ended |= chosen == self.special.eos
                if self.ended.all():
                    break
                with self.meter.part("embed"):
                    embeddings = self.model.embeddings("text", chosen[:, None])

    def _forward(self, embeddings: Float) -> Float:
        """Hidden state (B,1,H) of the last of the new rows (B,R,H); the state keeps them."""
        batch, rows, _ = embeddings.shape
        positions = np.tile(np.arange(self.before, self.before + rows), (batch, 1))
        self.meter.steps += batch
        self.meter.count_forwards(batch, batch * rows)
        with self.meter.part("backbone"):
            hidden = self.model.attend(embeddings, positions, state=self.state)
        self.before += rows
        return hidden[:, -1:]

    def _logits(self, hidden: Float) -> Float:
        """Logits (B,V) of the next token."""
        with self.meter.part("head"):
            self.meter.head_rows += len(hidden)
            logits: Float = self.model.head(
                "text", hidden, np.zeros((len(hidden), 1, 1), np.int64)
            )[:, 0, 0]
        return logits

    def _records(
        self, names: Many[int], chosen: Ids, margins: Float | None
    ) -> Iterator[StepRecord]:
        length = self.tokens.shape[1]
        for request in np.flatnonzero(~self.ended).tolist():
            x_1 = np.full(length, NOT_DRAWN, np.int64)
            x_1[self.place] = chosen[request]
            beside = None
            if margins is not None:
                near = np.full(length, np.inf)
                near[self.place] = margins[request]
                beside = (near,)
            so_far = self.tokens[request].copy()
            yield StepRecord(
                names[request], self.place, self.place / length, (so_far,), (x_1,), beside
            )
