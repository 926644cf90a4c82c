"""A text response in two parts: its first tokens, then the rest, which sees them as given (arXiv
2503.09573)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence as Many

import numpy as np

from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Ids
from nextomni_edge.generate.steps import StepRecord, Steps
from nextomni_edge.tokens.sequence import Segment, Sequence


class Parts:
    """Responses cut after `lead_tokens`. The rest is generated where no <EOS> comes before it."""

    def __init__(
        self, model: EdgeModel, sequences: Many[Sequence], options: GenerationOptions
    ) -> None:
        self.sequences, self.special, self.steps = sequences, model.tokenizer.special, options.steps
        self.lead, self.block_size = options.lead_tokens, model.config.text.block_size
        self.grows = options.max_blocks is not None
        extent = (
            None
            if options.max_blocks is None
            else options.max_blocks - self.lead // self.block_size
        )
        self.lead_options = dataclasses.replace(
            options, lead_tokens=0, max_blocks=None, extend="first"
        )
        self.rest_options = dataclasses.replace(options, lead_tokens=0, max_blocks=extent)

    def leads(self) -> list[Sequence]:
        """The sequences with only the first tokens of their responses. Shorter responses are whole,
        except where they may grow."""
        cut = []
        for sequence in self.sequences:
            place, tokens = _response(sequence)
            length = self.lead if self.grows else min(self.lead, len(tokens))
            cut.append(sequence.with_tokens(place, np.zeros(length, np.int64)))
        return cut

    def rests(self, leads: Many[Sequence]) -> dict[int, Sequence]:
        """By index, the sequences that go on. Their first tokens are given now, and the rest is to
        be generated."""
        found = {}
        for index, (sequence, lead) in enumerate(zip(self.sequences, leads, strict=True)):
            place, tokens = _response(lead)
            left = len(_response(sequence)[1]) - len(tokens)
            if left <= 0 and self.grows:
                left = self.block_size - len(tokens) % self.block_size
            if left and self.special.eos not in tokens:
                both = (
                    Segment("text", tokens),
                    Segment("text", np.zeros(left, np.int64), frozen=False),
                )
                found[index] = Sequence(
                    (*lead.segments[:place], *both, *lead.segments[place + 1 :])
                )
        return found

    def joined(self, leads: Many[Sequence], rests: Mapping[int, Sequence]) -> list[Sequence]:
        """The sequences with their whole responses. <PAD> fills those that ended, or stopped, in
        the first part."""
        whole = []
        for index, (sequence, lead) in enumerate(zip(self.sequences, leads, strict=True)):
            place, tokens = _response(lead)
            if index in rests:
                tokens = np.concatenate([tokens, rests[index].segments[place + 1].tokens])
            padding = max(0, len(_response(sequence)[1]) - len(tokens))
            whole.append(
                sequence.with_tokens(
                    place, np.pad(tokens, (0, padding), constant_values=self.special.pad)
                )
            )
        return whole

    def behind(self, leads: Many[Sequence], indices: Many[int], steps: Steps) -> Steps:
        """The steps of the second part, told as following those of the first part, in which the
        first tokens stand still."""
        with contextlib.closing(steps):
            while True:
                try:
                    record = next(steps)
                except StopIteration as end:
                    finished: list[Sequence] = end.value
                    return finished
                request = indices[record.request]
                yield self._following(leads[request], request, record)

    def _following(self, lead: Sequence, request: int, record: StepRecord) -> StepRecord:
        """A record of the second part as one of the whole response."""
        _, first = _response(lead)
        margins = record.margins and (
            np.concatenate([np.full(len(first), np.inf), record.margins[0]]),
        )
        return dataclasses.replace(
            record,
            request=request,
            step=self.steps + record.step,
            x_t=(np.concatenate([first, record.x_t[0]]),),
            x_1=record.x_1 and (np.concatenate([first, record.x_1[0]]),),
            margins=margins,
        )


def _response(sequence: Sequence) -> tuple[int, Ids]:
    place = sequence.generated()[0]
    return place, sequence.segments[place].tokens
