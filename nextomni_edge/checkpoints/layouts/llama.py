"""LLaMA- and Qwen2-type language models as `transformers` names them (the two differ in the bias of
q, k and v)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nextomni_edge.checkpoints.source import Layout, Plan, Source
from nextomni_edge.errors import InputError

LAYER = (
    "input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight",
    "self_attn.v_proj.weight", "self_attn.o_proj.weight", "post_attention_layernorm.weight",
    "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
)  # fmt: skip
BIASES = ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias")


def backbone_config(
    source: Source, section: Mapping[str, Any], qkv_bias: bool, rope_base: float
) -> dict[str, Any]:
    """Our `backbone` section; what the file leaves out has `transformers`' default."""
    hidden, heads = source.size(section, "hidden_size"), source.size(section, "num_attention_heads")
    if section.get("head_dim", hidden // heads) != hidden // heads:
        raise InputError(
            f"{source.path / 'config.json'}: head_dim is {section['head_dim']}, expected"
            f" hidden_size / heads, {hidden // heads}"
        )
    rope = section.get("rope_parameters") or section.get("rope_scaling") or {}
    if (
        not isinstance(rope, dict)
        or rope.get("rope_type", rope.get("type", "default")) != "default"
    ):
        raise InputError(
            f"{source.path / 'config.json'}: scaled rotary positions are not supported, expected"
            " plain ones"
        )
    return {
        "hidden_size": hidden,
        "layers": source.size(section, "num_hidden_layers"),
        "query_heads": heads,
        "kv_heads": source.size(section, "num_key_value_heads", heads),
        "mlp_size": source.size(section, "intermediate_size"),
        "rms_norm_eps": source.number(section, "rms_norm_eps", 1e-6),
        "qkv_bias": qkv_bias,
        "rope_base": source.number(
            rope if "rope_theta" in rope else section, "rope_theta", rope_base
        ),
        "max_positions": source.size(section, "max_position_embeddings", 16384),
    }


def backbone_tensors(layers: int, prefix: str, qkv_bias: bool) -> dict[str, tuple[str | None, ...]]:
    """The names of `models.backbone.Backbone`, which are those of `transformers` below `prefix`."""
    names = [
        f"layers.{index}.{name}"
        for index in range(layers)
        for name in (*LAYER, *(BIASES if qkv_bias else ()))
    ]
    return {f"backbone.{name}": (prefix + name,) for name in (*names, "norm.weight")}


def _plan(source: Source, qkv_bias: bool, rope_base: float) -> Plan:
    if str(source.config.get("model_type")).lower() == "dream":
        raise InputError(
            f"{source.path}: Dream is no autoregressive model: leave --layout out, or name dream"
        )
    config = backbone_config(source, source.config, qkv_bias, rope_base)
    tied = bool(source.config.get("tie_word_embeddings", "lm_head.weight" not in source.tensors))
    tensors = backbone_tensors(config["layers"], "model.", qkv_bias)
    tensors["embed_text.weight"] = ("model.embed_tokens.weight",)
    if not tied:
        tensors["text_head.weight"] = ("lm_head.weight",)
    text = {"vocabulary_size": source.size(source.config, "vocab_size"), "tied_head": tied}
    unused = {"model.rotary_emb.": "rotary angles are computed"}
    unused |= {
        f"model.layers.{index}.self_attn.rotary_emb.": "rotary angles are computed"
        for index in range(config["layers"])
    }
    if tied:
        unused["lm_head.weight"] = "the head is tied to the text table"
    return Plan({"backbone": config, "text": text}, tensors, unused, part=True)


def _of_type(name: str) -> Any:
    return lambda source: source.config.get("model_type") == name


QWEN2 = Layout(
    "qwen2", _of_type("qwen2"), lambda source: _plan(source, qkv_bias=True, rope_base=1e6)
)
LLAMA = Layout(
    "llama", _of_type("llama"), lambda source: _plan(source, qkv_bias=False, rope_base=1e4)
)
