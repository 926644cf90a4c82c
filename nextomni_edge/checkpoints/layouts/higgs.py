"""Higgs Audio v2's tokenizer as `transformers` writes it: our section of it, and its tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.checkpoints.published_config import check_keys, present
from nextomni_edge.checkpoints.source import Source
from nextomni_edge.errors import InputError
from nextomni_edge.formats.tensor_file import read_tensor

PART: Final = "audio_tokenizer"
ENCODER, DECODER = "audio_encoder", "audio_decoder"
Names = dict[str, tuple[str | None, ...]]
Pairs = Iterator[tuple[str, str]]

# What the classes of `transformers` take where a config says nothing.
DEFAULTS: Final[Mapping[str, Any]] = {
    "target_bandwidths": [0.5, 1, 1.5, 2, 4], "sample_rate": 24_000, "kernel_size": 3,
    "channel_ratios": [1, 1], "strides": [1, 1], "block_dilations": [1, 1], "unit_kernel_size": 3,
    "codebook_size": 1024, "codebook_dim": 64, "semantic_sample_rate": 16_000,
    "downsample_factor": 320, "acoustic_model_config": {}, "semantic_model_config": {},
}  # fmt: skip
ACOUSTIC: Final[Mapping[str, Any]] = {
    "encoder_hidden_size": 64, "decoder_hidden_size": 1024, "hidden_size": 256,
    "downsampling_ratios": [8, 5, 4, 2], "upsampling_ratios": [8, 5, 4, 2],
}  # fmt: skip
SEMANTIC: Final[Mapping[str, Any]] = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "layer_norm_eps": 1e-5, "conv_dim": [512] * 7,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2], "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16,
}  # fmt: skip
# of DAC's own quantiser, which the codec does not have, and of training
UNREAD: Final = (
    "hop_length", "codebook_dim", "codebook_size", "n_codebooks", "sampling_rate",
    "codebook_loss_weight", "commitment_loss_weight", "num_feat_extract_layers", "vocab_size",
    "apply_spec_augment", "mask_time_length", "mask_time_min_masks", "mask_feature_length",
    "mask_time_prob", "mask_feature_prob", "classifier_proj_size", "ctc_loss_reduction",
    "final_dropout", "feat_proj_dropout", "layerdrop",
)  # fmt: skip
FIXED: Final[Mapping[str, tuple[Any, ...]]] = {
    "feat_extract_norm": ("group",), "feat_extract_activation": ("gelu",), "hidden_act": ("gelu",),
    "feat_proj_layer_norm": (True,), "conv_bias": (False,), "do_stable_layer_norm": (False,),
    "conv_pos_batch_norm": (False,),
}  # fmt: skip
BLOCK: Final = {
    "attention.query": "attention.q_proj", "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj", "attention.out": "attention.out_proj",
    "norm": "layer_norm", "up": "feed_forward.intermediate_dense",
    "down": "feed_forward.output_dense", "last_norm": "final_layer_norm",
}  # fmt: skip


@dataclass(frozen=True)
class CodecPlan:
    """Our `codec` section, the rate in Hz and the number of codebooks, our tensors' names, tensors
    with their values, and prefixes of what is not needed."""

    section: dict[str, Any]
    rate: int
    codebooks: int
    tensors: Names
    made: dict[str, NDArray[Any]]
    unused: dict[str, str]


def speech_codec(source: Source) -> CodecPlan:
    """The codec in the part's folder. InputError: it is missing, or another kind of codec."""
    folder = source.part(PART)
    where, given = folder / "config.json", source.part_json(folder, "config.json")
    if given.get("model_type") != "higgs_audio_v2_tokenizer":
        raise InputError(
            f"{where}: model_type is {str(given.get('model_type'))[:40]!r}, expected"
            " higgs_audio_v2_tokenizer"
        )
    check_keys(where, given, tuple(DEFAULTS), {}, UNREAD)
    config = present(given, DEFAULTS)
    for name in ("channel_ratios", "strides"):
        if any(each != 1 for each in config[name]):
            raise InputError(f"{where}: {name} is {str(config[name])[:40]}, expected ones")
    section = _section(source, where, config)
    source.add_part(PART, folder)
    rate = source.size(config, "sample_rate")
    _check_rate(source, folder, rate)
    token = math.prod(section["down"])
    books = _codebooks(where, config, rate, token)
    names = {ours: (f"{PART}/{theirs}",) for ours, theirs in _names(section, books)}
    unused = {
        f"{PART}/decoder_semantic.": "of training only", f"{PART}/fc1.": "of training only",
        f"{PART}/semantic_model.masked_spec_embed": "of training only",
        f"{PART}/semantic_model.encoder.pos_conv_embed.conv.": "folded into one weight",
        **{f"{PART}/quantizer.quantizers.{index}.codebook.{each}": "of training only"
           for index in range(books) for each in ("cluster_size", "embed_avg", "inited")},
        **{f"{PART}/quantizer.quantizers.{index}.": "of a quantiser that the rate does not reach"
           for index in range(books, source.count(f"{PART}/quantizer.quantizers."))},
    }  # fmt: skip
    return CodecPlan(section, rate, books, dict(names), {POSITION: _folded(source)}, unused)


def _section(source: Source, where: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    parts = []
    for name, defaults in (
        ("acoustic_model_config", ACOUSTIC),
        ("semantic_model_config", SEMANTIC),
    ):
        given = config[name]
        if not isinstance(given, dict):
            raise InputError(f"{where}: {name} is no object")
        check_keys(where, given, tuple(defaults), FIXED, UNREAD)
        parts.append(present(given, defaults))
    acoustic, semantic = parts
    down, rate = _wholes(where, acoustic, "downsampling_ratios"), config["sample_rate"]
    heard = source.size(config, "semantic_sample_rate")
    # how many of HuBERT's rows make a token
    every = int(math.prod(down) / (rate / heard) / source.size(config, "downsample_factor"))
    return {
        "entries": source.size(config, "codebook_size"),
        "code_dim": source.size(config, "codebook_dim"),
        "width": source.size(acoustic, "hidden_size"),
        "encoder_width": source.size(acoustic, "encoder_hidden_size"), "down": down,
        "decoder_width": source.size(acoustic, "decoder_hidden_size"),
        "up": _wholes(where, acoustic, "upsampling_ratios"),
        "semantic": {
            "rate": heard, "conv_widths": _wholes(where, semantic, "conv_dim"),
            "conv_kernels": _wholes(where, semantic, "conv_kernel"),
            "conv_strides": _wholes(where, semantic, "conv_stride"),
            "width": source.size(semantic, "hidden_size"),
            "layers": source.size(semantic, "num_hidden_layers"),
            "heads": source.size(semantic, "num_attention_heads"),
            "mlp_width": source.size(semantic, "intermediate_size"),
            "norm_eps": source.number(semantic, "layer_norm_eps", 1e-5),
            "position_kernel": source.size(semantic, "num_conv_pos_embeddings"),
            "position_groups": source.size(semantic, "num_conv_pos_embedding_groups"),
            "every": max(1, every), "kernel": source.size(config, "kernel_size"),
            "unit_kernel": source.size(config, "unit_kernel_size"),
            "blocks": len(config["strides"]),
            "dilations": _wholes(where, config, "block_dilations"),
        },
    }  # fmt: skip


def _wholes(where: Path, section: Mapping[str, Any], key: str) -> list[int]:
    """A short list of positive whole numbers. InputError: something else."""
    value = section[key]
    fits = isinstance(value, list) and 0 < len(value) <= 16
    if not fits or not all(type(each) is int and 0 < each < 2**14 for each in value):
        raise InputError(f"{where}: {key} is {str(value)[:40]!r}, expected a short list of sizes")
    return list(value)


def _codebooks(where: Path, config: Mapping[str, Any], rate: int, token: int) -> int:
    """How many codebooks the highest bandwidth in kbit/s takes."""
    every = config["target_bandwidths"]
    highest = every[-1] if isinstance(every, list) and every else 0
    if type(highest) not in (int, float) or not 0 < highest < 1e6:
        raise InputError(f"{where}: target_bandwidths must be a list that ends in a number")
    bits = math.ceil(math.log2(config["codebook_size"]))
    return max(1, int(1000 * highest // (math.ceil(rate / token) * bits)))


def _check_rate(source: Source, folder: Path, rate: int) -> None:
    """InputError: the folder's reader of samples is for another rate."""
    name = "preprocessor_config.json"
    stated = source.part_json(folder, name).get("sampling_rate") if (
        folder / name
    ).is_file() else rate  # fmt: skip
    if stated != rate:
        raise InputError(
            f"{folder / name}: sampling_rate is {str(stated)[:20]}, but config.json's sample_rate"
            f" is {rate}"
        )


POSITION: Final = f"{ENCODER}.semantic.hubert.position.weight"


def _folded(source: Source) -> NDArray[Any]:
    """HuBERT's weight normalisation as a plain weight: g·v/‖v‖, a norm for each tap."""
    name = f"{PART}/semantic_model.encoder.pos_conv_embed.conv."
    for gain, direction in (
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
        ("weight_g", "weight_v"),
    ):
        if name + gain in source.tensors and name + direction in source.tensors:
            break
    else:
        raise InputError(f"{source.path}: tensor {name}{direction} is missing")
    g, v = (
        read_tensor(source.tensors[name + each], name + each).astype(np.float64)
        for each in (gain, direction)
    )
    if v.ndim != 3 or g.size != v.shape[2]:
        raise InputError(f"{source.path}: {name}{direction} has shape {v.shape}, gains {g.shape}")
    norm = np.sqrt(np.square(v).sum(axis=(0, 1), keepdims=True))
    folded: NDArray[Any] = g.reshape(1, 1, -1) * v / np.maximum(norm, np.finfo(np.float64).tiny)
    return folded.astype(np.float32)


def _both(ours: str, theirs: str) -> Pairs:
    yield from ((f"{ours}.{part}", f"{theirs}.{part}") for part in ("weight", "bias"))


def _names(section: Mapping[str, Any], books: int) -> Pairs:
    yield from _both(f"{ENCODER}.merge", "fc")
    yield from _both(f"{DECODER}.narrow", "fc2")
    for index in range(books):
        table, theirs = f"{ENCODER}.tables.{index}", f"quantizer.quantizers.{index}"
        yield f"{table}.entries", f"{theirs}.codebook.embed"
        yield from _both(f"{table}.outward", f"{theirs}.project_out")
        yield from _both(f"{ENCODER}.inward.{index}", f"{theirs}.project_in")
    for ours, theirs, conv, strides in (
        (f"{ENCODER}.acoustic", "acoustic_encoder", "conv1", section["down"]),
        (f"{DECODER}.acoustic", "acoustic_decoder", "conv_t1", section["up"]),
    ):
        yield from _both(f"{ours}.first", f"{theirs}.conv1")
        yield from _both(f"{ours}.last", f"{theirs}.conv2")
        yield f"{ours}.act.alpha", f"{theirs}.snake1.alpha"
        for level in range(len(strides)):
            yield from _level(f"{ours}.blocks.{level}", f"{theirs}.block.{level}", conv)
    yield from _hubert_names(section["semantic"])
    ours, theirs = f"{ENCODER}.semantic", "encoder_semantic"
    yield f"{ours}.first.weight", f"{theirs}.conv.weight"
    for index in range(section["semantic"]["blocks"]):
        block, name = f"{ours}.blocks.{index}", f"{theirs}.conv_blocks.{index}"
        yield from _both(f"{block}.conv", f"{name}.conv")
        for unit in range(len(section["semantic"]["dilations"])):
            for mine, each in (("first", "conv1"), ("second", "conv2")):
                yield (
                    f"{block}.units.{unit}.{mine}.weight",
                    f"{name}.res_units.{unit}.{each}.weight",
                )


def _level(ours: str, theirs: str, conv: str) -> Pairs:
    yield from _both(f"{ours}.conv", f"{theirs}.{conv}")
    yield f"{ours}.act.alpha", f"{theirs}.snake1.alpha"
    for index in range(3):
        unit, name = f"{ours}.units.{index}", f"{theirs}.res_unit{index + 1}"
        for mine, number in (("first", 1), ("second", 2)):
            yield from _both(f"{unit}.{mine}", f"{name}.conv{number}")
            yield f"{unit}.{mine}_act.alpha", f"{name}.snake{number}.alpha"


def _hubert_names(section: Mapping[str, Any]) -> Pairs:
    ours, theirs = f"{ENCODER}.semantic.hubert", "semantic_model"
    extractor, encoder = f"{theirs}.feature_extractor.conv_layers", f"{theirs}.encoder"
    for index in range(len(section["conv_widths"])):
        yield f"{ours}.convs.{index}.weight", f"{extractor}.{index}.conv.weight"
    yield from _both(f"{ours}.conv_norm", f"{extractor}.0.layer_norm")
    yield from _both(f"{ours}.project_norm", f"{theirs}.feature_projection.layer_norm")
    yield from _both(f"{ours}.project", f"{theirs}.feature_projection.projection")
    yield from _both(f"{ours}.norm", f"{encoder}.layer_norm")
    yield f"{ours}.position.bias", f"{encoder}.pos_conv_embed.conv.bias"
    for index in range(section["layers"]):
        for mine, name in BLOCK.items():
            yield from _both(f"{ours}.blocks.{index}.{mine}", f"{encoder}.layers.{index}.{name}")
