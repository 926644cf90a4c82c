"""FUDOKI's released checkpoint (arXiv 2505.20147): a Janus-style config.json, model.safetensors,
two pickled metric tables.

Sizes come from config.json, and where it has none (the VQ decoder, whose sizes FUDOKI keeps in
code) from the tensors' shapes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

from nextomni_edge.checkpoints.layouts.llama import backbone_config, backbone_tensors
from nextomni_edge.checkpoints.pickled import embedding_table
from nextomni_edge.checkpoints.source import Layout, Plan, Source
from nextomni_edge.errors import InputError

# a literal in FUDOKI's code; a config.json with another vocabulary says "null_token"
NULL_TOKEN: Final = 100015
TEXT_POSITIONS: Final = 500
GUIDANCE: Final = 5.0
STEPS: Final = 50  # of the published inference scripts
# Width and heads of the towers that FUDOKI's code knows by name: no tensor tells the heads.
SIGLIP: Final = {
    "siglip_large_patch16_384": (1024, 16),
    "siglip_large_patch16_256": (1024, 16),
}
# Janus' (MIT): the model was trained with these words before every conversation that shows an
# image.
SYSTEM: Final = (
    "You are a helpful language and vision assistant. You are able to understand the visual content"
    " that the user provides, and assist the user with a variety of tasks using natural language."
)
TOWER, VQ = "vision_model.vision_tower", "gen_vision_model"
UNUSED: Final = {
    f"{TOWER}.attn_pool.": "SigLIP's pooling: every patch's feature is used instead",
    f"{VQ}.quantize.codebook_used": "a training statistic",
}


def recognises(source: Source) -> bool:
    return (
        source.config.get("model_type") == "multi_modality"
        and (source.path / "text_embedding.pt").is_file()
    )


def plan(source: Source) -> Plan:
    """The whole model. InputError: a size that is missing or cannot be."""
    config = _config(source)
    tensors = backbone_tensors(
        config["backbone"]["layers"], "language_model.model.", qkv_bias=False
    )
    tensors |= {
        "embed_text.weight": ("language_model.model.embed_tokens.weight",),
        "text_head.weight": ("language_model.lm_head.weight",),
        "embed_image.table": ("gen_embed.weight",),
        **_affine("embed_image.projector.first", "gen_aligner.layers.0"),
        **_affine("embed_image.projector.second", "gen_aligner.layers.2"),
        **_affine("image_head.project", "gen_head.output_mlp_projector"),
        **_affine("image_head.out", "gen_head.vision_head"),
        **_affine("image_encoder.aligner.first", "aligner.layers.0"),
        **_affine("image_encoder.aligner.second", "aligner.layers.2"),
        **_tower(config["image"]["encoder"]["layers"]),
        **vq_decoder_tensors(config["image"]["vq"]),
    }
    encoder, unused = config["image"].get("vq_encoder"), UNUSED
    if encoder:
        tensors |= vq_encoder_tensors(encoder)
    else:
        unused = UNUSED | dict.fromkeys(
            (f"{VQ}.encoder.", f"{VQ}.quant_conv."), "what is left of a VQ encoder without blocks"
        )
    tables = {
        "metric_tables.text": ("text_embedding.pt", "language_model.model.embed_tokens.weight"),
        "metric_tables.image": ("image_embedding.pt", "gen_embed.weight"),
    }
    return Plan(config, tensors, unused, tables, tokenizer="tokenizer.json")


def _affine(ours: str, theirs: str) -> dict[str, tuple[str | None, ...]]:
    return {f"{ours}.{part}": (f"{theirs}.{part}",) for part in ("weight", "bias")}


def _config(source: Source) -> dict[str, Any]:
    language, text_size = (
        source.section("language_config"),
        source.size(source.section("language_config"), "vocab_size"),
    )
    image = _image(source)
    null = source.config.get("null_token", NULL_TOKEN)
    if type(null) is not int or not 0 <= null < text_size:
        raise InputError(
            f"{source.path / 'config.json'}: null_token is {str(null)[:40]}, expected an id under"
            f" vocab_size, {text_size}"
        )
    positions = (image["size"] // image["patch"]) ** 2
    return {
        "network": "fudoki",
        "modalities": ["text", "image"],
        "logit_shift": 1,
        "backbone": backbone_config(source, language, "llama"),
        "text": {
            "vocabulary_size": text_size,
            "max_blocks": 1,
            "metric_dim": embedding_table(source.path / "text_embedding.pt").shape[1],
            "template": "deepseek",
            "system_prompt": SYSTEM,
            "canvas": TEXT_POSITIONS + positions,
            "null_token": null,
        },
        "image": image,
        "flow": {
            "text": {"temperature": 0.0, "steps": STEPS},
            "image": {"guidance": GUIDANCE, "steps": STEPS},
        },
    }


def _image(source: Source) -> dict[str, Any]:
    vision, generation = (
        source.section("vision_config", "params"),
        source.section("gen_vision_config", "params"),
    )
    head = source.section("gen_head_config", "params")
    width, _, patch, _ = _four(source, f"{TOWER}.patch_embed.proj.weight")
    if vision.get("mlp_ratio", 4) != 4:
        raise InputError(
            f"{source.path / 'config.json'}: mlp_ratio is {vision['mlp_ratio']}, expected 4"
        )
    heads = _heads(source, vision, source.size(vision, "width", width))
    layers = source.size(vision, "layers", source.count(f"{TOWER}.blocks."))
    return {
        "size": source.size(vision, "image_size"),
        "patch": source.size(vision, "patch_size", patch),
        "max_frames": 1,
        "given": "features",
        "fitting": "janus",
        "codebook": {
            "codebooks": 1,
            "entries": source.size(generation, "image_token_size"),
            "code_dim": source.size(generation, "n_embed"),
        },
        "encoder": {
            "width": source.size(vision, "width", width),
            "layers": layers,
            "heads": heads,
            "norm_eps": 1e-6,
        },
        "head": {"kind": "parallel", "width": source.size(head, "image_token_embed")},
        "vq": _vq_sizes(source, "decoder"),
        **_vq_encoder(source),
    }


def _heads(source: Source, vision: Mapping[str, Any], width: int) -> int:
    """Of the tower: those of its name. InputError: config.json says other ones, or neither."""
    name = vision.get("model_name")
    published_width, published = SIGLIP.get(name if isinstance(name, str) else "", (0, 0))
    heads = source.size(vision, "heads", published or None)
    if width == published_width and heads != published:
        raise InputError(
            f"{source.path / 'config.json'}: heads is {heads}, but {name} of width {width} has"
            f" {published}"
        )
    return heads


def _vq_encoder(source: Source) -> dict[str, Any]:
    """Nothing where the checkpoint has no block of an encoder: FUDOKI's own code never runs it."""
    if not source.count(f"{VQ}.encoder.conv_blocks."):
        return {}
    return {"vq_encoder": _vq_sizes(source, "encoder")}


def _vq_sizes(source: Source, part: str) -> dict[str, Any]:
    """Sizes of the VQ `encoder` or `decoder`: its levels stand in the order they run in; the
    shallowest has the base's width."""
    prefix, outer = f"{VQ}.{part}", "conv_in" if part == "encoder" else "norm_out"
    levels = source.count(f"{prefix}.conv_blocks.")
    if not levels:
        raise InputError(f"{source.path}: no tensor {prefix}.conv_blocks.0, expected a VQ {part}")
    widths = [
        _four(source, f"{prefix}.conv_blocks.{level}.res.0.conv1.weight")[0]
        for level in range(levels)
    ]
    shallow_first = widths if part == "encoder" else widths[::-1]
    base = source.shape(f"{prefix}.{outer}.weight")[0]
    if not base or any(width % base for width in widths):
        raise InputError(
            f"{source.path}: the VQ {part}'s levels have widths {widths}, expected multiples of"
            f" {base}"
        )
    return {
        "channels": base, "multipliers": [width // base for width in shallow_first],
        "residual_blocks": source.count(f"{prefix}.conv_blocks.0.res.") - (part == "decoder"),
        "latent_channels": _four(source, f"{VQ}.post_quant_conv.weight")[0],
    }  # fmt: skip


def _four(source: Source, name: str) -> tuple[int, ...]:
    shape = source.shape(name)
    if len(shape) != 4:
        raise InputError(f"{source.path}: tensor {name} has shape {shape}, expected four axes")
    return shape


def _tower(layers: int) -> dict[str, tuple[str | None, ...]]:
    ours = "image_encoder.tower"
    found: dict[str, tuple[str | None, ...]] = {
        **_affine(f"{ours}.patch", f"{TOWER}.patch_embed.proj"),
        f"{ours}.positions": (f"{TOWER}.pos_embed",),
        **_affine(f"{ours}.transformer.norm", f"{TOWER}.norm"),
    }
    parts = {
        "norm1": "norm1",
        "qkv": "attn.qkv",
        "out": "attn.proj",
        "norm2": "norm2",
        "mlp.0": "mlp.fc1",
        "mlp.2": "mlp.fc2",
    }
    for index in range(layers):
        for mine, theirs in parts.items():
            found |= _affine(
                f"{ours}.transformer.blocks.{index}.{mine}", f"{TOWER}.blocks.{index}.{theirs}"
            )
    return found


def vq_decoder_tensors(sizes: dict[str, Any]) -> dict[str, tuple[str | None, ...]]:
    """The decoder's names for the sizes of the `vq` section: the deepest level comes first."""
    widths = [sizes["channels"] * multiplier for multiplier in reversed(sizes["multipliers"])]
    return {
        "image_decoder.codebook": (f"{VQ}.quantize.embedding.weight",),
        **_affine("image_decoder.widen", f"{VQ}.post_quant_conv"),
        **_vq_tensors(
            "image_decoder",
            "decoder",
            [widths[0], *widths],
            sizes["residual_blocks"] + 1,
            0,
            "upsample",
        ),
    }


def vq_encoder_tensors(sizes: dict[str, Any]) -> dict[str, tuple[str | None, ...]]:
    """The encoder's names for the sizes of the `vq_encoder` section: the deepest level comes
    last."""
    widths = [sizes["channels"] * multiplier for multiplier in sizes["multipliers"]]
    return {
        **_affine("image_quantiser.narrow", f"{VQ}.quant_conv"),
        **_vq_tensors(
            "image_quantiser",
            "encoder",
            [sizes["channels"], *widths],
            sizes["residual_blocks"],
            len(widths) - 1,
            "downsample",
        ),
    }


def _vq_tensors(
    ours: str, part: str, widths: list[int], blocks: int, deepest: int, resize: str
) -> dict[str, tuple[str | None, ...]]:
    """`widths`: what enters the first level, then what leaves each. Every level but the last one
    resizes."""
    source = f"{VQ}.{part}"
    found = {
        **_affine(f"{ours}.first", f"{source}.conv_in"),
        **_residual(f"{ours}.middle.0", f"{source}.mid.0", shortcut=False),
        **_attention(f"{ours}.middle.1", f"{source}.mid.1"),
        **_residual(f"{ours}.middle.2", f"{source}.mid.2", shortcut=False),
        **_affine(f"{ours}.norm", f"{source}.norm_out"),
        **_affine(f"{ours}.last", f"{source}.conv_out"),
    }
    for level, (before, width) in enumerate(itertools.pairwise(widths)):
        mine, theirs = f"{ours}.levels.{level}", f"{source}.conv_blocks.{level}"
        for block in range(blocks):
            found |= _residual(
                f"{mine}.residual.{block}",
                f"{theirs}.res.{block}",
                shortcut=block == 0 and before != width,
            )
            found |= (
                _attention(f"{mine}.attention.{block}", f"{theirs}.attn.{block}")
                if level == deepest
                else {}
            )
        found |= (
            _affine(f"{mine}.resize.conv", f"{theirs}.{resize}.conv")
            if level < len(widths) - 2
            else {}
        )
    return found


def _residual(ours: str, theirs: str, shortcut: bool) -> dict[str, tuple[str | None, ...]]:
    found = {
        key: value
        for part in ("norm1", "conv1", "norm2", "conv2")
        for key, value in _affine(f"{ours}.{part}", f"{theirs}.{part}").items()
    }
    return found | (_affine(f"{ours}.shortcut", f"{theirs}.nin_shortcut") if shortcut else {})


def _attention(ours: str, theirs: str) -> dict[str, tuple[str | None, ...]]:
    parts = {"norm": "norm", "query": "q", "key": "k", "value": "v", "out": "proj_out"}
    return {
        key: value
        for mine, his in parts.items()
        for key, value in _affine(f"{ours}.{mine}", f"{theirs}.{his}").items()
    }


FUDOKI = Layout("fudoki", recognises, plan)
