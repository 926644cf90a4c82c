"""The length of a text response: as given, or found by the confidence of <EOS>, before or during
the denoising (METHOD 5)."""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np

from nextomni_edge.errors import UsageError
from nextomni_edge.generate.batch import Batch, BatchNoise, batches
from nextomni_edge.generate.denoiser import Denoiser
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Float, Ids
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.sequence import Sequence


class BlockPolicy:
    """Adds blocks to text responses, up to `max_blocks`, while no row makes <EOS> likely.

    A longer response starts from the same noise where the shorter one had any.
    """

    def __init__(
        self, model: EdgeModel, options: GenerationOptions, limit: int, meter: Meter
    ) -> None:
        self.model, self.options, self.limit, self.meter = model, options, limit, meter
        self.block_size = model.config.text.block_size
        self.eos = model.tokenizer.special.eos

    def lengthen(self, sequences: Many[Sequence], seeds: Many[int]) -> list[Sequence]:
        """The sequences at the length to denoise, where the length is found first."""
        grown, open_ended = list(sequences), list(range(len(sequences)))
        while self.options.max_blocks is not None and self.options.extend == "first" and open_ended:
            open_ended = [index for index in open_ended if self._may_grow(grown[index])]
            found = self.confidence(
                [grown[index] for index in open_ended], [seeds[index] for index in open_ended]
            )
            pairs = zip(open_ended, found, strict=True)
            open_ended = [
                index for index, confidence in pairs if confidence < self.options.eos_threshold
            ]
            for index in open_ended:
                grown[index] = self._add_block(grown[index])
        return grown

    def interleaves(self, t: float) -> bool:
        """Whether responses may grow at time t of the denoising."""
        return (
            self.options.max_blocks is not None
            and self.options.extend == "interleaved"
            and t <= self.options.extend_until
        )

    def extend(self, batch: Batch, x_t: Ids, denoiser: Denoiser) -> tuple[Batch, Ids] | None:
        """The batch and its tokens x_t, with one more block for each request without a confident
        <EOS>; None where no request needs one.

        The rows of a new block start from the same noise as at t = 0.
        """
        confidence = denoiser.confidence(x_t, self.eos).max(axis=1)
        short = [bool(found < self.options.eos_threshold) for found in confidence]
        grows = [
            is_short and self._may_grow(sequence)
            for is_short, sequence in zip(short, batch.sequences, strict=True)
        ]
        if not any(grows):
            return None
        pairs = zip(batch.sequences, grows, strict=True)
        longer = Batch(
            [self._add_block(sequence) if more else sequence for sequence, more in pairs],
            batch.seeds,
        )
        x_next = BatchNoise(longer, 1).start(self.model.paths("text"))
        x_next[:, : x_t.shape[1]] = np.where(batch.real[..., None], x_t, x_next[:, : x_t.shape[1]])
        return longer, x_next

    def confidences(self, sequences: Many[Sequence], seeds: Many[int]) -> Float:
        """`confidence` (B,max_blocks) of responses of one block at every length that they may grow
        to."""
        columns, grown = [self.confidence(sequences, seeds)], list(sequences)
        while self._may_grow(grown[0]):
            grown = [self._add_block(sequence) for sequence in grown]
            columns.append(self.confidence(grown, seeds))
        return np.stack(columns, axis=1)

    def confidence(self, sequences: Many[Sequence], seeds: Many[int]) -> Float:
        """The largest probability (B,) of <EOS> in any row of each response at t = 0."""
        largest = np.zeros(len(sequences))
        for indices in batches(sequences, self.limit, self.options.padding):
            batch = Batch(
                [sequences[index] for index in indices], [seeds[index] for index in indices]
            )
            x_0 = BatchNoise(batch, 1).start(self.model.paths("text"))
            try:
                found = Denoiser(self.model, batch, self.options, self.meter).confidence(
                    x_0, self.eos
                )
            except NonFiniteError as error:
                raise NonFiniteError(f"finding the length, before step 0: {error}") from error
            largest[indices] = found.max(axis=1)
        return largest

    def _may_grow(self, sequence: Sequence) -> bool:
        # the first is begun behind lead_tokens
        blocks = -(-len(sequence.segments[sequence.generated()[0]]) // self.block_size)
        return self.options.max_blocks is not None and blocks < self.options.max_blocks

    def _add_block(self, sequence: Sequence) -> Sequence:
        index = sequence.generated()[0]
        return sequence.with_tokens(
            index, np.pad(sequence.segments[index].tokens, (0, self.block_size))
        )


def calibrated_threshold(confidences: Float, blocks: Ids) -> float:
    """The `eos_threshold` with which most of B responses get the blocks (B,) that they need, from
    `BlockPolicy.confidences`.

    Where several do as well, the middle one. UsageError: no responses.
    """
    if not len(blocks):
        raise UsageError("no responses to find a threshold from: give some whose lengths are known")
    values = np.unique(np.concatenate([[0.0], confidences.ravel(), [1.0]]))
    candidates = (values[1:] + values[:-1]) / 2
    enough = confidences[None] >= candidates[:, None, None]  # (candidates,B,blocks)
    enough[:, :, -1] = True  # no longer than allowed
    right = (enough.argmax(axis=2) + 1 == blocks).sum(axis=1)
    best = candidates[right == right.max()]
    return float(best[len(best) // 2])
