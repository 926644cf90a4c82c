"""From x_t to x_1: embeddings, backbone and head over both branches of guidance, computing only what has changed."""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.noise import Use
from nextomni_edge.flow.sampling import guided, sample_x_1
from nextomni_edge.generate.layout import BatchNoise, Float, Ids, Layout
from nextomni_edge.generate.margin import decision_margin
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tokens.sequence import Sequence, unconditional


class Denoiser:
    """Predicts x_1 of B sequences of one layout over the G branches of guidance. The prompts are embedded once."""

    def __init__(self, model: EdgeModel, sequences: Many[Sequence], layout: Layout, options: GenerationOptions) -> None:
        self.model, self.layout, self.options = model, layout, options
        self.rows = layout.rows - model.config.logit_shift
        if self.rows[0] < 0:
            raise UsageError("the first row has none before it to be predicted from: give a prompt before the response")
        branches = [*sequences]
        if options.guidance:
            branches += [unconditional(sequence, model.tokenizer.special) for sequence in sequences]
        embeddings = model.sequence_embeddings(branches)
        requests, rows, (codebooks, entries) = len(sequences), len(self.rows), model.symbols(layout.modality)
        self.embeddings = embeddings.reshape(-1, requests, *embeddings.shape[1:])  # (G,B,S,H)
        self.hidden = np.zeros((len(self.embeddings), requests, rows, embeddings.shape[2]), np.float32)
        self.logits = np.zeros((requests, rows, codebooks, entries), np.float32)
        self.x_t = np.full((requests, rows, codebooks), -1)  # of the last forward: none yet

    def predict(self, x_t: Ids, step: int, noise: BatchNoise, with_margins: bool = False) -> tuple[Ids, Float | None]:
        """x_1 ~ p(· | x_t), (B,R,K), one sub-code after another, and where asked for the margins (B,R,K) of the draws."""
        options, x_1 = self.options, np.zeros_like(x_t)
        uniform, margins = noise.uniform(step, Use.X_1), np.zeros(x_t.shape)
        first_logits = self.first_logits(x_t)
        for k in range(x_t.shape[2]):
            later = k > 0 and self.model.autoregressive(self.layout.modality)
            logits = (self._head(self.hidden, x_1) if later else first_logits)[:, :, k]
            flat, draws = logits.reshape(-1, logits.shape[2]), uniform[:, :, k].ravel()
            x_1[:, :, k] = sample_x_1(flat, draws, options.temperature, options.top_k, options.top_p).reshape(x_t.shape[:2])
            if with_margins:
                margins[:, :, k] = decision_margin(flat, draws, options).reshape(x_t.shape[:2])
        return x_1, margins if with_margins else None

    def first_logits(self, x_t: Ids) -> Float:
        """Guided logits (B,R,K,C) that depend on the hidden state alone: of an autoregressive head, the first sub-code's.

        Only requests whose tokens changed since their last forward take part in another.
        """
        stale = (x_t != self.x_t).any(axis=(1, 2)) | (not self.options.reuse_logits)
        if stale.any():
            self.hidden[:, stale] = self._forward(x_t[stale], stale)
            self.logits[stale] = self._head(self.hidden[:, stale], np.zeros_like(x_t[stale]))
            self.x_t = x_t.copy()
        return self.logits

    def _forward(self, x_t: Ids, chosen: Ids) -> Float:
        """Hidden states (G,b,R,H) that the generated rows of the chosen requests are predicted from."""
        modality = self.layout.modality
        embeddings = self.embeddings[:, chosen]
        embeddings[:, :, self.layout.rows] = self.model.embeddings(modality, x_t[:, :, 0] if modality == "text" else x_t)
        hidden = self.model.backbone(embeddings.reshape(-1, *embeddings.shape[2:]))
        return hidden.reshape(embeddings.shape)[:, :, self.rows]

    def _head(self, hidden: Float, codes: Ids) -> Float:
        """Guided logits (b,R,K,C) from hidden (G,b,R,H), the branches reading the same sub-codes (b,R,K)."""
        branches, requests = hidden.shape[:2]
        codes = np.tile(codes, (branches, 1, 1))
        logits = self.model.head(self.layout.modality, hidden.reshape(-1, *hidden.shape[2:]), codes)
        logits = logits.reshape(branches, requests, *logits.shape[1:])
        combined: Float = logits[0] if branches == 1 else guided(logits[0], logits[1], self.options.guidance)
        return combined
