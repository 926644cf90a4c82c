"""Dream (arXiv 2508.15487): Qwen2.5's transformer and names, without the causal mask, decoded by
unmasking. Logits are shifted by one, as in the autoregressive model that it began from."""

from __future__ import annotations

from typing import Any, Final

from nextomni_edge.checkpoints.layouts.llama import backbone_config, backbone_tensors
from nextomni_edge.checkpoints.source import Layout, Plan, Source
from nextomni_edge.errors import InputError

MASK: Final = "<|mask|>"
TOKENS: Final = 128
# the published code, which this layout stands for; the mask, which is read above; a size of work
UNREAD: Final = ("auto_map", "mask_token_id", "chunk_size")
# transformers' defaults, which Dream's generation config inherits, and Dream's own
TOP_K, TOP_P, TEMPERATURE = 50, 0.95, 0.2


AUDIO: Final = "model.audio_model."  # what Omni-Diffusion has besides


def recognises(source: Source) -> bool:
    hears = any(name.startswith(AUDIO) for name in source.tensors)
    return str(source.config.get("model_type")).lower() == "dream" and not hears


def plan(source: Source) -> Plan:
    """The whole model. InputError: Omni-Diffusion's, which has more than text."""
    if any(name.startswith(AUDIO) for name in source.tensors):
        raise InputError(
            f"{source.path}: Omni-Diffusion hears and draws besides: leave --layout out, or name"
            " omnidiffusion"
        )
    config = source.config
    size = source.size(config, "vocab_size")
    if len(source.token_ids()) > size:
        raise InputError(
            f"{source.path / 'tokenizer.json'}: {len(source.token_ids())} tokens, but config.json"
            f" has a vocab_size of {size}"
        )
    mask = source.agreed_id("mask_token_id", MASK, size)
    backbone = backbone_config(source, config, "qwen2", UNREAD)
    tied = bool(config.get("tie_word_embeddings", False))
    tensors = backbone_tensors(backbone["layers"], "model.", qkv_bias=True)
    tensors["embed_text.weight"] = ("model.embed_tokens.weight",)
    if not tied:
        tensors["text_head.weight"] = ("lm_head.weight",)
    model: dict[str, Any] = {
        "network": "unified", "modalities": ["text"], "logit_shift": 1, "backbone": backbone,
        "text": {
            "vocabulary_size": size, "tied_head": tied, "template": "dream",
            "block_size": min(TOKENS, backbone["max_positions"] // 4), "max_blocks": 64,
        },
        "flow": {
            "text": {
                "kind": "mixture", "mask": mask, "steps": TOKENS, "temperature": TEMPERATURE,
                "commit": {
                    "count": "time", "score": "entropy", "tempered": True,
                    "top_k": TOP_K, "top_p": TOP_P,
                },
            }
        },
    }  # fmt: skip
    return Plan(model, tensors, {}, tokenizer="tokenizer.json")


DREAM: Final = Layout("dream", recognises, plan)
