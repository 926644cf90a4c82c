"""How long a text response is: as given, or found by the confidence of <EOS> before the denoising (METHOD 5)."""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np

from nextomni_edge.generate.denoiser import Denoiser
from nextomni_edge.generate.layout import BatchNoise, Layout, batches
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.sequence import Sequence


class BlockPolicy:
    """Adds blocks to text responses, up to `max_blocks`, while <EOS> is likely nowhere in them at t = 0."""

    def __init__(self, model: EdgeModel, options: GenerationOptions, limit: int) -> None:
        self.model, self.options, self.limit = model, options, limit
        self.block_size = model.config.text.block_size

    def lengthen(self, sequences: Many[Sequence], seeds: Many[int]) -> list[Sequence]:
        """The sequences at the length to denoise. A longer response starts from the same noise where the shorter had any."""
        grown, open_ended = list(sequences), list(range(len(sequences)))
        while self.options.max_blocks is not None and open_ended:
            open_ended = [index for index in open_ended if self._blocks(grown[index]) < self.options.max_blocks]
            short = self._short([grown[index] for index in open_ended], [seeds[index] for index in open_ended])
            open_ended = [index for index, is_short in zip(open_ended, short, strict=True) if is_short]
            for index in open_ended:
                grown[index] = self._add_block(grown[index])
        return grown

    def _blocks(self, sequence: Sequence) -> int:
        return len(sequence.segments[sequence.generated()[0]]) // self.block_size

    def _add_block(self, sequence: Sequence) -> Sequence:
        index = sequence.generated()[0]
        return sequence.with_tokens(index, np.pad(sequence.segments[index].tokens, (0, self.block_size)))

    def _short(self, sequences: Many[Sequence], seeds: Many[int]) -> list[bool]:
        """For each sequence, whether no row of its response is confident of <EOS>."""
        short = [False] * len(sequences)
        for indices in batches(sequences, self.limit):
            group = [sequences[index] for index in indices]
            layout = Layout.of(group[0])
            x_0 = BatchNoise([seeds[index] for index in indices], layout, 1).start(self.model.config.text.vocabulary_size)
            try:
                logits = Denoiser(self.model, group, layout, self.options).first_logits(x_0)[:, :, 0].astype(np.float64)
            except NonFiniteError as error:
                raise NonFiniteError(f"finding the length, before step 0: {error}") from error
            weights = np.exp(logits - logits.max(axis=2, keepdims=True))
            confidence = weights[:, :, self.model.tokenizer.special.eos] / weights.sum(axis=2)
            for index, found in zip(indices, confidence.max(axis=1), strict=True):
                short[index] = bool(found < self.options.eos_threshold)
        return short
