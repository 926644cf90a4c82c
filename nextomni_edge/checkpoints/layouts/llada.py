"""LLaDA's layout, which MMaDA and Lumina-DiMOO share: a LLaMA-type transformer under names of its
own, and one vocabulary for text and image codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from nextomni_edge.checkpoints.layouts.image_tokenizers import image_tokenizer
from nextomni_edge.checkpoints.source import Layout, Plan, Source
from nextomni_edge.errors import InputError

# our names of a block's tensors, and LLaDA's: `ff_proj` is the gate
BLOCK: Final = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "q_proj", "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj", "self_attn.o_proj": "attn_out",
    "post_attention_layernorm": "ff_norm", "mlp.gate_proj": "ff_proj", "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}  # fmt: skip
# what a config must say, as the layout knows no other form
FIXED: Final[Mapping[str, object]] = {
    "block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "rope": True,
    "alibi": False, "include_bias": False, "include_qkv_bias": False, "attention_layer_norm": False,
    "input_emb_norm": False, "scale_logits": False, "block_group_size": 1,
}  # fmt: skip
MASK: Final = "<|mdm_mask|>"
EOS: Final = "<|endoftext|>"
PROMPT: Final = 320  # positions kept free next to an image, for a question and its answer
PREFIX: Final = "model.transformer."

# each family's published settings (METHOD 10): tokens and steps of an answer, its blocks
TEXT: Final = {"llada": (128, 128, 32), "mmada": (512, 256, 128), "lumina": (128, 128, 32)}
IMAGE: Final[Mapping[str, dict[str, Any]]] = {
    "mmada": {
        "steps": 15, "guidance": 3.5, "temperature": 1.0,
        "commit": {
            "count": "cosine", "score": "log_probability", "score_noise": "compounding",
            "total": "all", "draw_temperature": 1.0,
        },
    },
    "lumina": {
        "steps": 64, "guidance": 4.0, "temperature": 1.0,
        "commit": {
            "count": "cosine", "score": "log_probability", "score_noise": "constant", "early": True,
        },
    },
}  # fmt: skip


def recognises(source: Source) -> bool:
    return source.config.get("model_type") in ("llada", "mmada")


def family(source: Source) -> str:
    """LLaDA, or one of the two that also make images; all of them may say model_type llada."""
    names = source.config.get("architectures") or [""]
    if "LLaDAForMultiModalGeneration" in names:
        return "lumina"
    return "mmada" if source.config.get("model_type") == "mmada" else "llada"


def plan(source: Source) -> Plan:
    """The whole model; without an image tokenizer a model of text. InputError: what the layout
    cannot be."""
    _check_form(source)
    config, kind = source.config, family(source)
    ids, size = source.token_ids(), source.size(config, "vocab_size")
    rows = source.size(config, "embedding_size", size)
    mask = source.agreed_id("mask_token_id", MASK, rows)
    source.agreed_id("eos_token_id", EOS, rows)
    if len(ids) > rows:
        raise InputError(
            f"{source.path / 'tokenizer.json'}: {len(ids)} tokens, but config.json has an"
            f" embedding_size of {rows}"
        )
    layers, tied = source.size(config, "n_layers"), bool(config.get("weight_tying", False))
    tensors = _tensors(layers, tied)
    model: dict[str, Any] = {
        "network": "unified", "modalities": ["text"], "logit_shift": 0,
        "backbone": _backbone(source),
        "text": {"vocabulary_size": rows, "tied_head": tied, "template": kind},
        "flow": {"text": _text_path(kind, mask, source.size(config, "max_sequence_length"))},
    }  # fmt: skip
    model["text"] |= {"block_size": model["flow"]["text"].pop("tokens"), "max_blocks": 64}
    cut = {}
    codec = image_tokenizer(source) if kind in IMAGE else None
    if codec is not None:
        offset = _offset(source, kind, len(ids), rows, codec.entries)
        model["modalities"].append("image")
        model["image"] = codec.config | {"head": {"kind": "parallel"}}
        model["image"] |= _image(source, kind, offset)
        model["flow"]["image"] = {"kind": "mixture", **IMAGE[kind]}
        tensors |= codec.tensors | {"image_head.weight": (_head(tied),)}
        cut = {"image_head.weight": (offset, codec.entries)}
    unused = {"image_tokenizer/quantize.": "computed from the codes"}
    return Plan(model, tensors, unused, tokenizer="tokenizer.json", rows=cut)


def _check_form(source: Source) -> None:
    for key, expected in FIXED.items():
        if (found := source.config.get(key, expected)) != expected:
            raise InputError(
                f"{source.path / 'config.json'}: {key} is {str(found)[:40]!r}, expected"
                f" {expected!r}: this layout reads no other form"
            )


def _backbone(source: Source) -> dict[str, Any]:
    config = source.config
    heads = source.size(config, "n_heads")
    kv_heads = heads if config.get("n_kv_heads") is None else source.size(config, "n_kv_heads")
    return {
        "hidden_size": source.size(config, "d_model"),
        "layers": source.size(config, "n_layers"),
        "query_heads": heads,
        "kv_heads": kv_heads,
        "mlp_size": source.size(config, "mlp_hidden_size"),
        "rms_norm_eps": source.number(config, "rms_norm_eps", 1e-5),
        "rope_base": source.number(config, "rope_theta", 1e4),
        "qkv_bias": False,
        "max_positions": source.size(config, "max_sequence_length"),
    }


def _head(tied: bool) -> str:
    return f"{PREFIX}{'wte' if tied else 'ff_out'}.weight"


def _tensors(layers: int, tied: bool) -> dict[str, tuple[str | None, ...]]:
    found: dict[str, tuple[str | None, ...]] = {
        f"backbone.layers.{index}.{ours}.weight": (f"{PREFIX}blocks.{index}.{theirs}.weight",)
        for index in range(layers)
        for ours, theirs in BLOCK.items()
    }
    found |= {
        "backbone.norm.weight": (f"{PREFIX}ln_f.weight",),
        "embed_text.weight": (f"{PREFIX}wte.weight",),
    }
    return found if tied else found | {"text_head.weight": (_head(tied),)}


def _text_path(kind: str, mask: int, positions: int) -> dict[str, Any]:
    """The published settings, of fewer tokens where the model has little room."""
    tokens, steps, block = TEXT[kind]
    room = min(tokens, positions // 4)
    return {
        "kind": "mixture", "mask": mask, "temperature": 0.0, "tokens": room,
        "steps": max(1, steps * room // tokens),
        "commit": {"count": "even", "score": "probability", "block": min(block, room)},
    }  # fmt: skip


def _offset(source: Source, kind: str, tokens: int, rows: int, entries: int) -> int:
    """Id of image code 0: MMaDA's codes stand behind the tokenizer's ids, Lumina-DiMOO's at the end
    of the table. InputError: no room for them."""
    offset = tokens if kind == "mmada" else rows - entries
    if not tokens <= offset <= rows - entries:
        raise InputError(
            f"{source.path}: {tokens} tokens and {entries} image codes, but config.json has an"
            f" embedding_size of {rows}"
        )
    return offset


def _image(source: Source, kind: str, offset: int) -> dict[str, Any]:
    """The default size: MMaDA's one, Lumina-DiMOO's 1,024 pixels or what its positions leave."""
    if kind == "lumina":
        positions = source.size(source.config, "max_sequence_length")
        sides = [side for side in range(1, 65) if side * (side + 1) + PROMPT <= positions]
        side = sides[-1] if sides else 1
        return {"size": 16 * side, "offset": offset, "fitting": "buckets"}
    tokens = source.size(source.config, "num_vq_tokens", 1024)
    if math.isqrt(tokens) ** 2 != tokens:
        raise InputError(
            f"{source.path / 'config.json'}: num_vq_tokens is {tokens}, expected a square"
        )
    return {
        "size": 16 * math.isqrt(tokens), "offset": offset, "fitting": "crop", "truncated": True
    }  # fmt: skip


LLADA: Final = Layout("llada", recognises, plan)
