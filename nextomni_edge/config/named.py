"""The configs of published shapes, by name."""

from __future__ import annotations

import difflib
from typing import Final

from nextomni_edge.config.model import ModelConfig
from nextomni_edge.config.sections import (
    AudioConfig,
    BackboneConfig,
    CodebookConfig,
    HeadConfig,
    ImageConfig,
    TransformerConfig,
)
from nextomni_edge.errors import UsageError


def _nextomni_7b() -> ModelConfig:
    """NExT-OMNI's own shape (METHOD 1 and 2): Qwen2.5-7B, CLIP-ViT-Large and Whisper-turbo's
    encoder, with heads of 125 M parameters together.

    Unpublished sizes are chosen. Pictures have 384² pixels in patches of 16 (576 positions; CLIP's
    own patches have 14). The image decoder has 12 layers of width 1,024, the sound decoder 12
    layers of width 768, and codebook vectors have 16 values.
    """
    head = HeadConfig("autoregressive", width=1024, layers=3, heads=8)
    clip = TransformerConfig(
        1024, layers=24, heads=16, activation="quick_gelu", class_token=True, first_norm=True
    )
    whisper = TransformerConfig(1280, layers=32, heads=20)
    return ModelConfig(
        backbone=BackboneConfig(),
        image=ImageConfig(
            384,
            16,
            8,
            CodebookConfig(4, 4096),
            clip,
            TransformerConfig(1024, layers=12, heads=16),
            head,
        ),
        audio=AudioConfig(
            mels=128,
            codebook=CodebookConfig(2, 2048),
            encoder=whisper,
            decoder=TransformerConfig(768, 12, 12),
            head=head,
        ),
        logit_shift=1,
    )


NAMED: Final = {"nextomni-7b": _nextomni_7b()}


def named_config(name: str) -> ModelConfig:
    """The config of a published shape. UsageError: unknown (the nearest name is offered)."""
    if name not in NAMED:
        near = difflib.get_close_matches(name, NAMED, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(NAMED)}"
        raise UsageError(f"config {name!r}: {hint}")
    return NAMED[name]
