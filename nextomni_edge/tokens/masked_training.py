"""MMaDA's training sequences, id for id as its authors build them: a picture that is described, a
picture that a text reasons about, and a dialogue without pictures. `nextomni-edge` has no command
that trains MMaDA; these are for a training loop that imports its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import UsageError
from nextomni_edge.tokens.masked import headed
from nextomni_edge.tokens.parts import Turn
from nextomni_edge.tokens.sequence import Ids
from nextomni_edge.tokens.text import TextTokenizer

IGNORED: Final = -100  # a label that the loss leaves out


@dataclass(frozen=True)
class TrainingSequence:
    """ids (S,) int64 in the model's one vocabulary. given (S,) bool: never masked in training.
    labels (S,) int64: IGNORED where the loss does not look."""

    ids: Ids
    given: NDArray[np.bool_]
    labels: Ids


def described(
    tokenizer: TextTokenizer, codes: Ids, turns: Iterable[Turn], limit: int
) -> TrainingSequence:
    """`mmu`: <|mmu|> <|soi|> codes <|eoi|>, then the dialogue. `codes` (n,) carry the vocabulary's
    offset. The labels leave the picture out. UsageError: as `dialogue`."""
    special, said = tokenizer.special, dialogue(tokenizer, turns, limit)
    picture = _ids(special.task_seen, special.image_start, *codes, special.image_end)
    return TrainingSequence(
        np.concatenate([picture, said.ids]),
        np.concatenate([np.ones(len(picture), np.bool_), said.given]),
        np.concatenate([np.full_like(picture, IGNORED), said.labels]),
    )


def reasoned(
    tokenizer: TextTokenizer, codes: Ids, turns: Iterable[Turn], limit: int
) -> TrainingSequence:
    """`r2i`: <|r2i|>, the dialogue, <|soi|> codes <|eoi|>. Its answer and the codes are masked in
    training. UsageError: as `dialogue`."""
    special, said = tokenizer.special, dialogue(tokenizer, turns, limit)
    picture = _ids(special.image_start, *codes, special.image_end)
    around = np.zeros(len(picture), np.bool_)
    around[[0, -1]] = True
    ids = np.concatenate([_ids(special.task_reasoned), said.ids, picture])
    return TrainingSequence(ids, np.concatenate([[True], said.given, around]), ids)


def dialogue(tokenizer: TextTokenizer, turns: Iterable[Turn], limit: int) -> TrainingSequence:
    """
    `lm_chat`: <bos>, the messages behind their headers, <eos>, and more <eos> up to `limit` ids.
    Everything is given up to the last header; what the assistant says, and its ends, is not. `lm`
    has the same ids with nothing given.

    UsageError: another template than MMaDA's, a dialogue that does not end with the assistant's
    turn, or one of more than `limit` ids.
    """
    special, said = tokenizer.special, list(turns)
    if tokenizer.template != "mmada":
        raise UsageError(f"template {tokenizer.template}: these are MMaDA's training sequences")
    if not said or said[-1].role != "assistant":
        raise UsageError("a dialogue to train on ends with the assistant's turn; add its answer")
    ids = [special.bos]
    for turn in said:
        words = "".join(str(part.value) for part in turn.parts)
        ids += [*headed(tokenizer, turn.role, words), special.im_end]
    ids[-1] = special.eos  # the last message has no end of its own
    if len(ids) > limit:
        raise UsageError(f"a dialogue of {len(ids)} ids, room for {limit}; shorten it")
    padded = _ids(*ids, *[special.eos] * (limit - len(ids)))
    last = int(np.flatnonzero(padded == special.head_end)[-1])
    return TrainingSequence(padded, np.arange(limit) <= last, padded)


def _ids(*tokens: int) -> Ids:
    return np.asarray(tokens, np.int64)
