"""LLaMA-, Qwen2- and Qwen3-type language models as `transformers` names them. Qwen2 has biases of
q, k and v; Qwen3 has norms of q and k, and a head size of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from nextomni_edge.checkpoints.published_config import check_keys, present
from nextomni_edge.checkpoints.source import Layout, Plan, Source
from nextomni_edge.errors import InputError

LAYER = (
    "input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight",
    "self_attn.v_proj.weight", "self_attn.o_proj.weight", "post_attention_layernorm.weight",
    "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
)  # fmt: skip
NORMS = ("self_attn.q_norm.weight", "self_attn.k_norm.weight")
BIASES = ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias")


# What the classes of `transformers` take where a config says nothing.
SHARED: Final = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "tie_word_embeddings": False,
}  # fmt: skip
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "qwen2": {
        **SHARED, "intermediate_size": 22016, "vocab_size": 151936,
        "max_position_embeddings": 32768,
    },
    "qwen3": {
        **SHARED, "intermediate_size": 22016, "vocab_size": 151936,
        "max_position_embeddings": 32768, "head_dim": 128,
    },
    "llama": {
        **SHARED, "intermediate_size": 11008, "vocab_size": 32000, "max_position_embeddings": 2048,
    },
}  # fmt: skip
READ: Final = (
    *DEFAULTS["qwen2"], "num_key_value_heads", "head_dim", "rope_parameters", "rope_scaling",
    "use_sliding_window", "sliding_window", "layer_types", "max_window_layers",
)  # fmt: skip
FIXED: Final[Mapping[str, tuple[Any, ...]]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1, 1.0),
    "use_mrope": (False,),
}
ROPE_FIXED: Final[Mapping[str, tuple[Any, ...]]] = {
    "rope_type": ("default",),
    "type": ("default",),
    "partial_rotary_factor": (1, 1.0),
}


def backbone_config(
    source: Source, section: Mapping[str, Any], kind: str, unread: Collection[str] = ()
) -> dict[str, Any]:
    """Our `backbone` section; what the file leaves out has the default of `transformers`' class of
    this kind, "qwen2", "qwen3" or "llama". `unread`: keys that the layout reads elsewhere or need
    not."""
    where = source.path / "config.json"
    check_keys(where, section, READ, FIXED, unread)
    given = present(section, DEFAULTS[kind])
    _check_windows(where, section, given, kind)
    hidden, heads = source.size(given, "hidden_size"), source.size(given, "num_attention_heads")
    own = source.size(given, "head_dim", hidden // heads)
    if own != hidden // heads and kind != "qwen3":
        raise InputError(
            f"{where}: head_dim is {own}, expected hidden_size / heads, {hidden // heads}"
        )
    # absent it is 32 in Qwen's classes; null is the number of query heads in all
    kv_heads = 32 if kind != "llama" and "num_key_value_heads" not in section else heads
    return {
        "hidden_size": hidden,
        "layers": source.size(given, "num_hidden_layers"),
        "query_heads": heads,
        "kv_heads": source.size(section, "num_key_value_heads", kv_heads),
        "mlp_size": source.size(given, "intermediate_size"),
        "rms_norm_eps": source.number(given, "rms_norm_eps", 1e-6),
        "qkv_bias": kind == "qwen2",
        "rope_base": _rope_base(source, section, given),
        "max_positions": source.size(given, "max_position_embeddings"),
        **({"head_size": own, "qk_norm": True} if kind == "qwen3" else {}),
    }


def _rope_base(source: Source, section: Mapping[str, Any], given: Mapping[str, Any]) -> float:
    """The base of plain rotary positions. InputError: scaled ones, or others for some layers."""
    where = source.path / "config.json"
    for name in ("rope_scaling", "rope_parameters"):  # transformers' order
        rope = section.get(name)
        if not rope:
            continue
        if not isinstance(rope, dict):
            raise InputError(f"{where}: {name} is no object")
        if any(isinstance(value, dict) for value in rope.values()):
            raise InputError(
                f"{where}: {name} differs from layer to layer ({', '.join(rope)[:60]}), which is"
                " not supported; expected one for all layers"
            )
        if rope.get("rope_type", rope.get("type", "default")) != "default":
            raise InputError(
                f"{where}: {name}: scaled rotary positions are not supported, expected plain ones"
            )
        check_keys(where, rope, ("rope_theta",), ROPE_FIXED)
        return source.number(rope, "rope_theta", source.number(given, "rope_theta", 1e4))
    return source.number(given, "rope_theta", 1e4)


def _check_windows(
    where: Path, section: Mapping[str, Any], given: Mapping[str, Any], kind: str
) -> None:
    """InputError: a layer that attends to a window, or has no full attention."""
    types = given.get("layer_types")
    if types is not None and (
        not isinstance(types, list) or any(name != "full_attention" for name in types)
    ):
        raise InputError(
            f"{where}: layer_types has layers that are not full_attention, which is not supported"
        )
    qwen = kind != "llama"
    on = given.get("use_sliding_window", not qwen)
    window = section.get("sliding_window", 4096 if qwen else None)
    if not on or window is None or types is not None:
        return
    first = given.get("max_window_layers", 28) if qwen else 0
    if not isinstance(first, int) or first < given["num_hidden_layers"]:
        raise InputError(
            f"{where}: sliding_window is {str(window)[:40]}, and attention to a window is not"
            " supported; expected use_sliding_window false, or no sliding_window"
        )


def backbone_tensors(
    layers: int, prefix: str, qkv_bias: bool, qk_norm: bool = False
) -> dict[str, tuple[str | None, ...]]:
    """The names of `models.backbone.Backbone`, which are those of `transformers` below `prefix`."""
    names = [
        f"layers.{index}.{name}"
        for index in range(layers)
        for name in (*LAYER, *(BIASES if qkv_bias else ()), *(NORMS if qk_norm else ()))
    ]
    return {f"backbone.{name}": (prefix + name,) for name in (*names, "norm.weight")}


def _plan(source: Source, kind: str) -> Plan:
    """A causal language model, or its base model, which has neither a head nor the prefix."""
    if str(source.config.get("model_type")).lower() == "dream":
        raise InputError(
            f"{source.path}: Dream is no autoregressive model: leave --layout out, or name dream"
        )
    config = backbone_config(source, source.config, kind)
    given = present(source.config, DEFAULTS[kind])
    base = "embed_tokens.weight" in source.tensors
    prefix, tied = "" if base else "model.", bool(given["tie_word_embeddings"])
    tensors = backbone_tensors(config["layers"], prefix, config["qkv_bias"], kind == "qwen3")
    tensors["embed_text.weight"] = (f"{prefix}embed_tokens.weight",)
    if not tied and not base:
        tensors["text_head.weight"] = ("lm_head.weight",)
    text = {"vocabulary_size": source.size(given, "vocab_size"), "tied_head": tied}
    unused = {f"{prefix}rotary_emb.": "rotary angles are computed"}
    unused |= {
        f"{prefix}layers.{index}.self_attn.rotary_emb.": "rotary angles are computed"
        for index in range(config["layers"])
    }
    if tied:
        unused["lm_head.weight"] = "the head is tied to the text table"
    return Plan({"backbone": config, "text": text}, tensors, unused, part=True)


def _of_type(name: str) -> Any:
    return lambda source: source.config.get("model_type") == name


QWEN2 = Layout("qwen2", _of_type("qwen2"), lambda source: _plan(source, "qwen2"))
QWEN3 = Layout("qwen3", _of_type("qwen3"), lambda source: _plan(source, "qwen3"))
LLAMA = Layout("llama", _of_type("llama"), lambda source: _plan(source, "llama"))
