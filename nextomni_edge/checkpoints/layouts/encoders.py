"""Published encoders as `transformers` names them: CLIP's and SigLIP's vision towers, Whisper's
audio encoder.

Our blocks hold query, key and value in one matrix, theirs in three; Whisper's keys have no bias,
which is a bias of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nextomni_edge.checkpoints.source import Layout, Plan, Source
from nextomni_edge.errors import InputError

ACTIVATIONS: Final = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh"}
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


def _encoder(
    source: Source, section: Mapping[str, Any], keys: tuple[str, str, str, str], eps: float
) -> dict[str, Any]:
    """Our encoder section; `keys` are their names for width, layers, heads and the MLP's size."""
    width, layers, heads, mlp = (source.size(section, key) for key in keys)
    if mlp != 4 * width:
        raise InputError(
            f"{source.path / 'config.json'}: {keys[3]} is {mlp}, expected four times {keys[0]},"
            f" {4 * width}"
        )
    activation = section.get("hidden_act", section.get("activation_function"))
    if activation not in ACTIVATIONS:
        raise InputError(
            f"{source.path / 'config.json'}: activation {str(activation)[:40]!r}, expected one of"
            f" {', '.join(ACTIVATIONS)}"
        )
    return {
        "width": width, "layers": layers, "heads": heads,
        "norm_eps": source.number(section, "layer_norm_eps", eps),
        "activation": ACTIVATIONS[activation],
    }  # fmt: skip


VISION_KEYS: Final = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)


def _vision(source: Source, clip: bool) -> Plan:
    """A vision tower, alone or inside the model of image and text that it was trained in."""
    section = source.section("vision_config") if "vision_config" in source.config else source.config
    filled = {"hidden_act": "quick_gelu" if clip else "gelu_pytorch_tanh", **section}
    encoder = _encoder(source, filled, VISION_KEYS, 1e-5 if clip else 1e-6)
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


WHISPER_KEYS: Final = ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim")


def _whisper(source: Source) -> Plan:
    """The encoder of a Whisper model; its sinusoidal positions are computed."""
    encoder = _encoder(source, {"activation_function": "gelu", **source.config}, WHISPER_KEYS, 1e-5)
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
        {"audio": {"mels": source.size(source.config, "num_mel_bins", 80), "encoder": encoder}},
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
