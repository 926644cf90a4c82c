"""Sequences as padded tensors: the form in which training reads them."""

from __future__ import annotations

from collections.abc import Sequence as Listing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nextomni_edge.config import CodebookConfig, ModelConfig
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.sequence import Sequence


@dataclass(frozen=True)
class CodeRows:
    """The rows of one coded modality in a batch: their places `sample` and `position` (n,), their
    sub-codes (n,K), and whether they are generated (n,)."""

    sample: Tensor
    position: Tensor
    codes: Tensor
    generated: Tensor

    def to(self, device: torch.device | str) -> CodeRows:
        return CodeRows(*(tensor.to(device) for tensor in vars(self).values()))


@dataclass(frozen=True)
class Batch:
    """`tokens` (B,S) int64 are 0 at coded rows and pads. `attention`, `response` and
    `text_generated` are (B,S) bool. `last` (B,) is the last row.

    The response is everything from the first generated row on, markers included. `text_weight`
    (B,S) float32 is what a generated row's loss counts.
    """

    tokens: Tensor
    attention: Tensor
    response: Tensor
    text_generated: Tensor
    last: Tensor
    image: CodeRows
    audio: CodeRows
    text_weight: Tensor

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(part.to(device) for part in vars(self).values()))


def collate(sequences: Listing[Sequence], config: ModelConfig) -> Batch:
    """Pad sequences on the right to the longest; generated segments hold x_1."""
    lengths = [sequence.length for sequence in sequences]
    shape = (len(sequences), max(lengths))
    tokens, response, text_generated = (
        np.zeros(shape, np.int64),
        np.zeros(shape, bool),
        np.zeros(shape, bool),
    )
    for sample, sequence in enumerate(sequences):
        response[sample, sequence.prompt_length : sequence.length] = True
        for segment, (start, stop) in zip(sequence.segments, sequence.spans(), strict=True):
            if segment.modality == "text":
                tokens[sample, start:stop] = segment.tokens
                text_generated[sample, start:stop] = not segment.frozen
    return Batch(
        torch.from_numpy(tokens),
        torch.from_numpy(np.arange(shape[1]) < np.asarray(lengths)[:, None]),
        torch.from_numpy(response),
        torch.from_numpy(text_generated),
        torch.tensor(lengths) - 1,
        _code_rows(sequences, "image", config.image.codebook),
        _code_rows(sequences, "audio", config.audio.codebook),
        torch.ones(shape),
    )


def _code_rows(sequences: Listing[Sequence], modality: str, codebook: CodebookConfig) -> CodeRows:
    sample, position, generated = ([np.zeros(0, np.int64)] for _ in range(3))
    codes = [np.zeros((0, codebook.codebooks), np.int64)]
    for index, sequence in enumerate(sequences):
        for segment, (start, stop) in zip(sequence.segments, sequence.spans(), strict=True):
            if segment.modality == modality:
                sample.append(np.full(stop - start, index))
                position.append(np.arange(start, stop))
                generated.append(np.full(stop - start, not segment.frozen))
                codes.append(segment.tokens)
    return CodeRows(
        torch.from_numpy(np.concatenate(sample)),
        torch.from_numpy(np.concatenate(position)),
        torch.from_numpy(np.concatenate(codes)),
        torch.from_numpy(np.concatenate(generated)).bool(),
    )


def embed(model: OmniModel, batch: Batch) -> Tensor:
    """The backbone's input (B,S,H): the text table, and the projected codebook vectors at coded
    rows."""
    embeddings: Tensor = model.embed_text(batch.tokens)
    for rows, component in ((batch.image, model.embed_image), (batch.audio, model.embed_audio)):
        if len(rows.codes):
            projected = component(rows.codes[None])[0].to(embeddings.dtype)  # bf16 in autocast
            embeddings = embeddings.index_put((rows.sample, rows.position), projected)
    return embeddings
