"""A generation on its way: its steps, each with the answer as it stands."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass

from nextomni_edge.api.answer import Answer, SpokenAnswer
from nextomni_edge.api.painting import PAINTS, repainted
from nextomni_edge.api.settings import SPOKEN, Request
from nextomni_edge.api.speaking import Speaking, first_sequence, said, spoken
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.autoregressive import greedy_steps
from nextomni_edge.generate.loop import steps
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord, Steps
from nextomni_edge.tokens.chat import Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer


@dataclass(frozen=True)
class Step:
    """The answer as it stands before step `number` of `total`, at time t of the flow; the last one
    has t = 1 and holds the finished answer.

    answer: decoded only where it is looked at. record: the sampler's x_t and x_1 (None at the
    end).
    """

    number: int
    total: int
    t: float
    answer: Answer
    record: StepRecord | None


def asked(
    config: ModelConfig, tokenizer: TextTokenizer, turns: list[Turn], request: Request
) -> tuple[Sequence, GenerationOptions]:
    """The sequence of a flow to complete, and how. UsageError: settings that do not go together, or
    more than the model takes."""
    config = config.told({part.kind for turn in turns for part in turn.parts})
    options = request.options(config)
    if config.speaks_only:
        return first_sequence(
            tokenizer, config, said(config, turns, request.settings, None)
        ), options
    if meant := [name for name in SPOKEN if name in request.settings]:
        raise UsageError(f"{', '.join(meant)}: of models that say a text in a voice; leave it out")
    if any(name in request.settings for name in PAINTS):
        sequence = repainted(config, tokenizer, turns, request)
    else:
        sequence = respond(
            conversation(tokenizer, turns, request.kind, request.settings.get("edit"), config),
            request.kind,
            config,
            tokenizer,
            request.count(config),
            request.size(),
            request.settings.get("length"),
        )
    limit = config.backbone.max_positions
    if sequence.length > limit:
        raise UsageError(
            f"the conversation and its answer are {sequence.length} positions, the model takes"
            f" {limit}; shorten it"
        )
    return sequence, options


class Generation:
    """Conversations of a model with the answers that are to come, checked and not begun.

    seeds: one for each conversation, in place of the request's seed for all of them. total: steps
    that it takes at most. meter: what it has cost so far.
    """

    def __init__(
        self,
        edge: EdgeModel,
        conversations: list[list[Turn]],
        request: Request,
        margins: bool = False,
        seeds: Many[int] | None = None,
    ) -> None:
        self.edge, self.meter = edge, Meter()
        self.sequences: list[Sequence] = []
        self.speaking: Speaking | None = None
        self._steps: Steps
        if edge.config.speaks_only:
            self.speaking = Speaking(edge, conversations, request)
            self.sequences, self.total = self.speaking.sequences, self.speaking.total
            self._steps = self.speaking.steps(seeds, self.meter, margins)
        elif edge.config.causal:
            request.check_causal()
            request.count(edge.config)
            self.sequences = [_next_token(edge, turns, request) for turns in conversations]
            self.total = sum(len(self.sequences[0].segments[at]) for at in self._generated)
            self._steps = greedy_steps(edge, self.sequences, self.meter, margins)
        else:
            pairs = [asked(edge.config, edge.tokenizer, turns, request) for turns in conversations]
            self.sequences, options = [sequence for sequence, _ in pairs], pairs[0][1]
            self.total = options.all_steps
            self._steps = steps(edge, self.sequences, options, seeds, self.meter, margins)

    @property
    def _generated(self) -> tuple[int, ...]:
        return self.sequences[0].generated()

    def records(self) -> Steps:
        """The steps of all requests; the generator's value is the finished sequences."""
        return self._steps

    def answer(self, sequence: Sequence) -> Answer:
        """What one of its sequences has generated."""
        if self.speaking is not None:
            return SpokenAnswer(self.edge, sequence, self.meter, self.speaking)
        return Answer(self.edge, sequence, self.meter)

    def watched(self) -> Iterator[Step]:
        """The steps of the first request, and its finished answer as the last one. Closing the
        iterator stops the computation."""
        with contextlib.closing(self.all_watched()) as every:
            yield from (step for request, step in every if request == 0)

    def all_watched(self) -> Generator[tuple[int, Step], None, None]:
        """The steps of all requests, each with its request's number. The finished answers come
        last. Closing the generator stops the computation."""
        with contextlib.closing(self._steps):
            while True:
                try:
                    record = next(self._steps)
                except StopIteration as end:
                    finished: list[Sequence] = end.value
                    break
                yield (
                    record.request,
                    self._step(record.step, record.t, self._so_far(record), record),
                )
        for request, sequence in enumerate(finished):
            yield request, self._step(self.total, 1.0, sequence, None)

    def _so_far(self, record: StepRecord) -> Sequence:
        """The sequence of a request before a step."""
        if self.speaking is not None:
            return spoken(record.x_t)
        found = self.sequences[record.request]
        for place, tokens in zip(found.generated(), record.x_t, strict=True):
            found = found.with_tokens(place, tokens)
        return found

    def _step(self, number: int, t: float, sequence: Sequence, record: StepRecord | None) -> Step:
        return Step(number, self.total, t, self.answer(sequence), record)


def _next_token(edge: EdgeModel, turns: list[Turn], request: Request) -> Sequence:
    """The sequence of an autoregressive model, with room for its longest text."""
    kind, config = request.kind, edge.config
    return respond(
        conversation(edge.tokenizer, turns, kind),
        kind,
        config,
        edge.tokenizer,
        config.text.max_blocks if kind == "text" else None,
    )
