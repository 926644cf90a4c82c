"""Published encoders as `transformers` names them: CLIP's and SigLIP's vision towers, Whisper's
audio encoder.

Our blocks hold query, key and value in one matrix, theirs in three; Whisper's keys have no bias,
which is a bias of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nextomni_edge.checkpoints.published_config import check_keys, present
from nextomni_edge.checkpoints.source import Layout, Plan, Source
from nextomni_edge.errors import InputError

ACTIVATIONS: Final = {
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",  # the same formula, spelled out
}
TOWERS: Final = ("clip_vision_model", "siglip_vision_model")
Names = dict[str, tuple[str | None, ...]]


def _affine(ours: str, theirs: str) -> Names:
    return {f"{ours}.{part}": (f"{theirs}.{part}",) for part in ("weight", "bias")}


def _block(
    ours: str, theirs: str, norms: tuple[str, str], mlp: str, out: str, key_bias: bool
) -> Names:
    """One block of ours out of one of theirs."""
    attention = f"{theirs}.self_attn"
    bias = tuple(
        f"{attention}.{name}_proj.bias" if key_bias or name != "k" else None for name in "qkv"
    )
    return {
        **_affine(f"{ours}.norm1", f"{theirs}.{norms[0]}"),
        f"{ours}.qkv.weight": tuple(f"{attention}.{name}_proj.weight" for name in "qkv"),
        f"{ours}.qkv.bias": bias,
        **_affine(f"{ours}.out", f"{attention}.{out}"),
        **_affine(f"{ours}.norm2", f"{theirs}.{norms[1]}"),
        **_affine(f"{ours}.mlp.0", f"{theirs}.{mlp}fc1"),
        **_affine(f"{ours}.mlp.2", f"{theirs}.{mlp}fc2"),
    }


VISION_KEYS: Final = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
)  # fmt: skip
WHISPER_KEYS: Final = ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim")
# What the classes of `transformers` take where a config says nothing.
VISION_DEFAULTS: Final = dict(
    zip((*VISION_KEYS, "image_size"), (768, 12, 12, 3072, 224), strict=True)
)
CLIP_DEFAULTS: Final = {
    **VISION_DEFAULTS, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
SIGLIP_DEFAULTS: Final = {
    **VISION_DEFAULTS, "patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
WHISPER_DEFAULTS: Final = {
    **dict(zip(WHISPER_KEYS, (384, 4, 6, 1536), strict=True)),
    "activation_function": "gelu", "num_mel_bins": 80, "max_source_positions": 1500,
}  # fmt: skip
# keys of towers and parts that are not taken
VISION_UNREAD: Final = ("projection_dim", "vision_use_head")
WHISPER_UNREAD: Final = (
    "vocab_size", "decoder_layers", "decoder_attention_heads", "decoder_ffn_dim",
    "max_target_positions", "num_hidden_layers", "median_filter_width", "alignment_heads",
    "use_weighted_layer_sum", "classifier_proj_size", "apply_spec_augment", "mask_time_prob",
    "mask_time_length", "mask_time_min_masks", "mask_feature_prob", "mask_feature_length",
    "mask_feature_min_masks", "tie_word_embeddings", "lang_ids", "task_ids",
    "scale_embedding", "layer_norm_eps",  # neither is read by the encoder of `transformers`
)  # fmt: skip


def _encoder(
    source: Source, given: Mapping[str, Any], keys: tuple[str, str, str, str], activation: str
) -> dict[str, Any]:
    """Our encoder section; `keys` are their names for width, layers, heads and the MLP's size,
    `activation` is that of its activation."""
    width, layers, heads, mlp = (source.size(given, key) for key in keys)
    if given[activation] not in ACTIVATIONS:
        raise InputError(
            f"{source.path / 'config.json'}: {activation} is {str(given[activation])[:40]!r},"
            f" expected one of {', '.join(ACTIVATIONS)}"
        )
    return {
        "width": width, "layers": layers, "heads": heads,
        **({} if mlp == 4 * width else {"mlp_width": mlp}),
        "norm_eps": source.number(given, "layer_norm_eps", 1e-5),
        "activation": ACTIVATIONS[given[activation]],
    }  # fmt: skip


def _vision_section(source: Source, clip: bool) -> dict[str, Any]:
    """What the config says of the vision tower. CLIP's `vision_config_dict` goes over its
    `vision_config`."""
    sections = [
        source.section(key)
        for key in ("vision_config", "vision_config_dict")
        if source.config.get(key) is not None
    ]
    merged = {key: value for section in sections for key, value in section.items()}
    alone = not sections and source.config.get("model_type") in TOWERS
    section = source.config if alone else merged
    defaults = CLIP_DEFAULTS if clip else SIGLIP_DEFAULTS
    where, fixed = source.path / "config.json", {"num_channels": (3,)}
    check_keys(where, section, defaults, fixed, VISION_UNREAD)
    return present(section, defaults)


def _vision(source: Source, clip: bool) -> Plan:
    """A vision tower by itself, or inside the model of image and text that it was trained in."""
    section = _vision_section(source, clip)
    encoder = _encoder(source, section, VISION_KEYS, "hidden_act")
    prefix = (
        "vision_model." if any(name.startswith("vision_model.") for name in source.tensors) else ""
    )
    ours, stack = "image_encoder", "image_encoder.transformer"
    tensors: Names = {
        f"{ours}.patch.weight": (f"{prefix}embeddings.patch_embedding.weight",),
        f"{ours}.patch.bias": (None if clip else f"{prefix}embeddings.patch_embedding.bias",),
        f"{ours}.positions": (f"{prefix}embeddings.position_embedding.weight",),
        **_affine(f"{stack}.norm", f"{prefix}post_layernorm"),
    }
    if clip:
        encoder |= {"class_token": True, "first_norm": True}
        tensors[f"{ours}.class_token"] = (f"{prefix}embeddings.class_embedding",)
        tensors |= _affine(f"{ours}.first_norm", f"{prefix}pre_layrnorm")  # their spelling
    for index in range(encoder["layers"]):
        theirs = f"{prefix}encoder.layers.{index}"
        tensors |= _block(
            f"{stack}.blocks.{index}",
            theirs,
            ("layer_norm1", "layer_norm2"),
            "mlp.",
            "out_proj",
            key_bias=True,
        )
    image = {
        "size": source.size(section, "image_size"),
        "patch": source.size(section, "patch_size"),
        "encoder": encoder,
    }
    unused = {
        "text_model.": "the text tower",
        **dict.fromkeys(
            ("logit_scale", "logit_bias", "visual_projection.", "text_projection."),
            "belongs to the contrastive loss",
        ),
        f"{prefix}head.": "the pooling head: every patch's feature is used instead",
        f"{prefix}embeddings.position_ids": "a constant",
    }
    return Plan({"image": image}, tensors, unused, part=True)


def _whisper(source: Source) -> Plan:
    """The encoder of a Whisper model; its sinusoidal positions are computed."""
    check_keys(source.path / "config.json", source.config, WHISPER_DEFAULTS, {}, WHISPER_UNREAD)
    given = present(source.config, WHISPER_DEFAULTS) | {"layer_norm_eps": 1e-5}
    encoder = _encoder(source, given, WHISPER_KEYS, "activation_function")
    prefix = next(
        (p for p in ("model.encoder.", "encoder.") if f"{p}conv1.weight" in source.tensors), ""
    )
    tensors: Names = {
        **_affine("audio_encoder.conv1", f"{prefix}conv1"),
        **_affine("audio_encoder.conv2", f"{prefix}conv2"),
        **_affine("audio_encoder.transformer.norm", f"{prefix}layer_norm"),
    }
    for index in range(encoder["layers"]):
        ours, theirs = f"audio_encoder.transformer.blocks.{index}", f"{prefix}layers.{index}"
        tensors |= _block(
            ours,
            theirs,
            ("self_attn_layer_norm", "final_layer_norm"),
            "",
            "out_proj",
            key_bias=False,
        )
    unused = {
        "model.decoder.": "the text decoder", "decoder.": "the text decoder",
        "proj_out.": "belongs to the text decoder",
        f"{prefix}embed_positions.weight": "sinusoids, which are computed",
    }  # fmt: skip
    return Plan(
        {"audio": {"mels": source.size(given, "num_mel_bins"), "encoder": encoder}},
        tensors,
        unused,
        part=True,
    )


def _type(*names: str) -> Any:
    return lambda source: source.config.get("model_type") in names


CLIP = Layout("clip", _type("clip", "clip_vision_model"), lambda source: _vision(source, clip=True))
SIGLIP = Layout(
    "siglip", _type("siglip", "siglip_vision_model"), lambda source: _vision(source, clip=False)
)
WHISPER = Layout("whisper", _type("whisper"), _whisper)
