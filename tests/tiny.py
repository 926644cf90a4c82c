"""A tiny random model directory: every component, every modality, built in under a second."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from nextomni_edge.config import (
    AudioConfig,
    BackboneConfig,
    CodebookConfig,
    FlowConfig,
    HeadConfig,
    ImageConfig,
    ModelConfig,
    PathConfig,
    TextConfig,
    TransformerConfig,
)
from nextomni_edge.spec import ComponentName
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer

CORPUS = [
    "user\n",
    "assistant\n",
    "draw a red rocket",
    "say a cat",
    "what is this?",
    "a small green tree spinning",
] * 4


# FUDOKI's alone
OTHERS = (ComponentName.IMAGE_QUANTISER, ComponentName.AUDIO_QUANTISER, *ComponentName.SPEECH)
COMPONENTS = tuple(name for name in ComponentName.ALL if name not in OTHERS)


def tiny_config(
    head: Literal["parallel", "autoregressive"] = "autoregressive", logit_shift: Literal[0, 1] = 0
) -> ModelConfig:
    """About 0.2 M parameters; K = 3 image sub-codes and 2 audio sub-codes, so that a mixed-up axis
    shows."""
    stack = TransformerConfig(width=32, layers=1, heads=2)
    heads = HeadConfig(head, width=16, layers=1, heads=2)
    return ModelConfig(
        backbone=BackboneConfig(
            48, layers=2, query_heads=4, kv_heads=2, mlp_size=96, max_positions=512
        ),
        text=TextConfig(vocabulary_size=320, block_size=4, max_blocks=3, metric_dim=8),
        image=ImageConfig(16, 8, 4, CodebookConfig(3, 16, 4), stack, stack, heads),
        audio=AudioConfig(
            max_seconds=0.32,
            codebook=CodebookConfig(2, 16, 4),
            encoder=stack,
            decoder=stack,
            head=heads,
            vocoder_iterations=4,
        ),
        flow=FlowConfig(
            text=PathConfig(c=1.0, steps=6, temperature=0.0),
            image=PathConfig(steps=8, guidance=2.0),
            audio=PathConfig(steps=8),
        ),
        logit_shift=logit_shift,
    )


def causal_config() -> ModelConfig:
    """The autoregressive twin."""
    config = tiny_config(logit_shift=1)
    return dataclasses.replace(
        config, backbone=dataclasses.replace(config.backbone, attention="causal")
    )


def tiny_model(out: Path, config: ModelConfig | None = None, seed: int = 0) -> Path:
    """Write a model directory with random weights, wide enough that logits differ clearly between
    symbols."""
    # here, because a device's tests take the config and have no PyTorch
    import torch

    from nextomni_edge.models import native
    from nextomni_edge.models.omni import OmniModel

    config = config or tiny_config()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Path(folder) / "tokenizer.json"
        train_tokenizer(CORPUS, config.text.vocabulary_size, tokenizer)
        vocabulary = TextTokenizer(tokenizer).vocabulary_size
        config = dataclasses.replace(
            config, text=dataclasses.replace(config.text, vocabulary_size=vocabulary)
        )
        torch.manual_seed(seed)
        native.save(OmniModel(config).eval(), tokenizer, out)
    return out


def with_prefix_attention(source: Path, out: Path) -> Path:
    """A copy of a model or bundle of full attention, of which the config now says that the prompt
    sees itself alone."""
    shutil.copytree(source, out)
    path = next(out / name for name in ("manifest.json", "config.json") if (out / name).exists())
    data = json.loads(path.read_text())
    data.get("config", data)["backbone"]["attention"] = "prefix"
    path.write_text(json.dumps(data))
    return out
