"""OmniVoice's layout (k2-fsa, Apache-2.0): Qwen3's base model with tables and heads of eight
codebooks, and Higgs Audio's codec in a folder of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from nextomni_edge.checkpoints.layouts.higgs import PART, speech_codec
from nextomni_edge.checkpoints.layouts.llama import backbone_config, backbone_tensors
from nextomni_edge.checkpoints.published_config import check_keys
from nextomni_edge.checkpoints.source import PART_FOLDERS, Layout, Plan, Source
from nextomni_edge.errors import InputError

READ: Final = (
    "audio_vocab_size", "audio_mask_id", "num_audio_codebook", "llm_config",
    "audio_codebook_weights",  # of the training loss
)  # fmt: skip
# of the published command: its sampler, and what is drawn from where a temperature asks for it
STEPS, GUIDANCE, SHIFT, PENALTY, TEMPERATURE = 32, 2.0, 0.1, 5.0, 5.0
KEPT_SHARE: Final = 10  # the likeliest tenth of the symbols
LONGEST: Final = 120.0  # seconds of one piece of speech


def recognises(source: Source) -> bool:
    return source.config.get("model_type") == "omnivoice"


def plan(source: Source) -> Plan:
    """The whole model. InputError: what the layout cannot be, or a codec that does not fit."""
    config, where = source.config, source.path / "config.json"
    check_keys(where, config, READ, {})
    if source.missing_parts([PART]):
        raise InputError(
            f"{source.path}: no folder {PART_FOLDERS[PART][0]}: put Higgs Audio's tokenizer there,"
            f" or name it with --part {PART}=FOLDER"
        )
    symbols, mask = source.size(config, "audio_vocab_size", 1025), config.get("audio_mask_id", 1024)
    books, section = source.size(config, "num_audio_codebook", 8), source.section("llm_config")
    if section.get("model_type") != "qwen3":
        kind = str(section.get("model_type"))[:40]
        raise InputError(f"{where}: llm_config is of model_type {kind!r}, expected qwen3")
    if mask != symbols - 1:
        raise InputError(
            f"{where}: audio_mask_id is {str(mask)[:20]}, expected the last of audio_vocab_size,"
            f" {symbols - 1}"
        )
    codec = speech_codec(source)
    for what, found, wanted in (
        ("codebooks", codec.codebooks, books), ("entries", codec.section["entries"], symbols - 1),
    ):  # fmt: skip
        if found != wanted:
            raise InputError(
                f"{source.path}: the codec has {found} {what}, but the model's config.json asks"
                f" for {wanted}"
            )
    backbone = backbone_config(source, section, "qwen3")
    tensors = backbone_tensors(backbone["layers"], "llm.", qkv_bias=False, qk_norm=True)
    tensors |= {
        "embed_text.weight": ("llm.embed_tokens.weight",),
        "embed_audio.weight": ("audio_embeddings.weight",),
        "audio_head.weight": ("audio_heads.weight",),
    }
    model = _config(backbone, source.size(section, "vocab_size", 151_936), symbols, books)
    model["audio"] |= {
        "sample_rate": codec.rate, "codec": codec.section,
        "hop": math.prod(codec.section["down"]), "frames_per_token": 1,
    }  # fmt: skip
    unused = codec.unused | {
        "codebook_layer_offsets": "computed from the sizes",
        "audio_tokenizer.": "the codec is read from its own folder",
    }
    return Plan(model, tensors | codec.tensors, unused, tokenizer="tokenizer.json", made=codec.made)


def _config(
    backbone: Mapping[str, Any], vocabulary: int, symbols: int, books: int
) -> dict[str, Any]:
    """The model's config but for the codec, with the sampler of the published command."""
    commit = {
        "count": "path", "score": "peak", "score_noise": "constant", "never": [symbols - 1],
        "top_k": -(-symbols // KEPT_SHARE), "draw_temperature": 0.0, "early": True,
        "codebook_penalty": PENALTY,
    }  # fmt: skip
    path = {
        "kind": "mixture", "mask": symbols - 1, "kappa": "shifted", "shift": SHIFT,
        "commit": commit, "steps": STEPS, "temperature": TEMPERATURE, "guidance": GUIDANCE,
    }  # fmt: skip
    return {
        "network": "omnivoice", "modalities": ["text", "audio"], "backbone": dict(backbone),
        "text": {"vocabulary_size": vocabulary, "template": "omnivoice"},
        "audio": {
            "max_seconds": LONGEST, "head": {"kind": "parallel"},
            "codebook": {"codebooks": books, "entries": symbols},
        },
        "flow": {"audio": path},
    }  # fmt: skip


OMNIVOICE: Final = Layout("omnivoice", recognises, plan)
