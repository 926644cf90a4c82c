"""The demo's data, tokenizer and config, which every stage of its training shares."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from catalog import load_concepts
from dataset import Emoji
from prompts import PAGE_TOKENS, corpus
from tasks import Tasks
from torch import Tensor

from nextomni_edge.config import ModelConfig
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from nextomni_edge.train.loop import ON_CPU

HERE = Path(__file__).parent
# apart from the demo, which is the stages before: it goes on with text alone, as a flow or
# autoregressive
TEXT = "text"


class Recipe:
    """Data, tokenizer and config of the demo, made once in `out` and read from there ever after."""

    def __init__(
        self,
        data: Path,
        out: Path,
        batch_size: int,
        init: Path | None = None,
        stage: str = "all",
        causal: bool = False,
    ):
        self.out = out
        self.emoji = Emoji.load(data)
        processes = PartialState(cpu=ON_CPU)
        with processes.main_process_first():
            if processes.is_main_process and init is not None:
                shutil.copyfile(init / "tokenizer.json", out / "tokenizer.json")
            elif processes.is_main_process and not (out / "tokenizer.json").exists():
                train_tokenizer(
                    corpus(self.emoji.concepts, self.emoji.artists), 768, out / "tokenizer.json"
                )
        self.tokenizer = TextTokenizer(out / "tokenizer.json")
        config = ModelConfig.load(HERE / "config.json")
        blocks = PAGE_TOKENS // config.text.block_size if stage == TEXT else config.text.max_blocks
        text = dataclasses.replace(
            config.text, vocabulary_size=self.tokenizer.vocabulary_size, max_blocks=blocks
        )
        attention = "causal" if causal else "prefix" if stage == TEXT else config.backbone.attention
        backbone = dataclasses.replace(config.backbone, attention=attention)
        self.config = dataclasses.replace(
            config, text=text, backbone=backbone, logit_shift=1 if causal else config.logit_shift
        )
        self.tasks = Tasks(self.emoji, self.tokenizer, self.config, batch_size)

    def text_table(self) -> Tensor:
        """Metric table of text (V, metric_dim): half from what tokens occur with (concepts, tags,
        categories), half random.

        Tokens of concepts that share tags come to stand nearer to each other; all others are about
        equally far.
        """
        half = self.config.text.metric_dim // 2
        columns: dict[str, list[int]] = {}
        for concept in load_concepts():
            for context in (concept.name, concept.category, *concept.tags):
                columns.setdefault(context, []).extend(self.tokenizer.encode(concept.name).tolist())
        counts = np.zeros((self.config.text.vocabulary_size, len(columns)))
        for column, tokens in enumerate(columns.values()):
            np.add.at(counts, (tokens, column), 1.0 / math.sqrt(len(tokens)))
        left, scale, _ = np.linalg.svd(counts, full_matrices=False)
        meaning = left[:, :half] * scale[:half]
        meaning /= np.maximum(np.linalg.norm(meaning, axis=1, keepdims=True), 1e-6)
        chance = np.random.default_rng(7).normal(
            size=(len(counts), self.config.text.metric_dim - half)
        )
        chance /= np.linalg.norm(chance, axis=1, keepdims=True)
        return torch.tensor(np.concatenate([meaning, chance], axis=1), dtype=torch.float32)

    def names(self, chosen: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids of names, flat, and where each starts: what EmbeddingBag reads."""
        encoded = [self.tokenizer.encode(name) for name in chosen]
        offsets = np.cumsum([0, *(len(ids) for ids in encoded[:-1])])
        return torch.from_numpy(np.concatenate(encoded)), torch.from_numpy(offsets)
