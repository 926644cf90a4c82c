"""What hears in Omni-Diffusion's files: SenseVoice's encoder as FunASR names it, and GLM-4-Voice's
speech tokenizer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from nextomni_edge.checkpoints.layouts.image_tokenizers import Names
from nextomni_edge.checkpoints.source import Source
from nextomni_edge.checkpoints.yaml_config import read_yaml, whole
from nextomni_edge.config.speech import HEARD_RATE
from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import read_regular

SENSEVOICE: Final = "sensevoice"
SPEECH_TOKENIZER: Final = "speech_tokenizer"
ENCODER: Final = "model.audio_model.model.encoder."
PROJECTION: Final = "model.audio_projection."
MAX_CMVN: Final = 2**20

BLOCK: Final = {
    "norm1": "norm1", "norm2": "norm2", "attention.qkv": "self_attn.linear_q_k_v",
    "attention.out": "self_attn.linear_out", "up": "feed_forward.w_1", "down": "feed_forward.w_2",
}  # fmt: skip
LAYER: Final = {
    "attention_norm": "self_attn_layer_norm", "query": "self_attn.q_proj",
    "key": "self_attn.k_proj", "value": "self_attn.v_proj", "out": "self_attn.out_proj",
    "mlp_norm": "final_layer_norm", "up": "fc1", "down": "fc2",
}  # fmt: skip


def affine(ours: str, theirs: str, bias: bool = True) -> Names:
    parts = ("weight", "bias") if bias else ("weight",)
    return {f"{ours}.{part}": (f"{theirs}.{part}",) for part in parts}


def listener(source: Source) -> tuple[dict[str, Any], Names]:
    """SenseVoice's section and tensors: sizes from its tensors and config.yaml, means and
    deviations from am.mvn. InputError: another front end or encoder."""
    folder = source.part(SENSEVOICE)
    path = folder / "config.yaml"
    config = read_yaml(path)
    encoder, front = (config.get(key) or {} for key in ("encoder_conf", "frontend_conf"))
    fixed = {"fs": HEARD_RATE, "window": "hamming", "frame_length": 25, "frame_shift": 10}
    for key, expected in fixed.items():
        if front.get(key, expected) != expected:
            raise InputError(f"{path}: {key} is {str(front[key])[:40]!r}, expected {expected!r}")
    if config.get("encoder") != "SenseVoiceEncoderSmall" or encoder.get("sanm_shfit", 0) != 0:
        raise InputError(
            f"{path}: the encoder is {str(config.get('encoder'))[:40]!r}, expected"
            " SenseVoiceEncoderSmall without a shift"
        )
    width = source.shape(f"{ENCODER}after_norm.weight")[0]
    mlp = source.shape(f"{ENCODER}encoders0.0.feed_forward.w_1.weight")[0]
    blocks, more = (source.count(f"{ENCODER}{name}.") for name in ("encoders", "tp_encoders"))
    mels, stack = whole(path, front, "n_mels", 80), whole(path, front, "lfr_m", 7)
    row = mels * stack
    shift, scale = cmvn(folder / "am.mvn", row)
    section = {
        "width": width, "heads": whole(path, encoder, "attention_heads", 4), "mlp_width": mlp,
        "blocks": 1 + blocks, "more_blocks": more,
        "kernel": source.shape(f"{ENCODER}encoders0.0.self_attn.fsmn_block.weight")[2],
        "mels": mels, "stack": stack, "every": whole(path, front, "lfr_n", 6),
        "query_rows": source.shape("model.audio_model.model.embed.weight")[0],
        "shift": shift, "scale": scale,
    }  # fmt: skip
    ours = "audio_encoder"
    tensors: Names = {f"{ours}.queries": ("model.audio_model.model.embed.weight",)}
    tensors |= _block(f"{ours}.blocks.0", f"{ENCODER}encoders0.0")
    for index in range(blocks):
        tensors |= _block(f"{ours}.blocks.{index + 1}", f"{ENCODER}encoders.{index}")
    for index in range(more):
        tensors |= _block(f"{ours}.more.{index}", f"{ENCODER}tp_encoders.{index}")
    tensors |= affine(f"{ours}.norm", f"{ENCODER}after_norm")
    tensors |= affine(f"{ours}.last_norm", f"{ENCODER}tp_norm")
    tensors |= affine(f"{ours}.projector_norm", f"{PROJECTION}pre_proj_layernorm")
    tensors |= affine(f"{ours}.widen", f"{PROJECTION}mlp.0", bias=False)
    tensors |= affine(f"{ours}.project", f"{PROJECTION}mlp.2", bias=False)
    return section, tensors


def _block(ours: str, theirs: str) -> Names:
    found: Names = {f"{ours}.attention.memory.weight": (f"{theirs}.self_attn.fsmn_block.weight",)}
    for mine, name in BLOCK.items():
        found |= affine(f"{ours}.{mine}", f"{theirs}.{name}")
    return found


def cmvn(path: Path, size: int) -> tuple[list[float], list[float]]:
    """(shift, scale) of Kaldi's text file: the rows behind <AddShift> and <Rescale>, each of `size`
    numbers. InputError: not such a file."""
    words = read_regular(path, MAX_CMVN).decode("ascii", errors="replace").split()
    found: list[list[float]] = []
    for name in ("<AddShift>", "<Rescale>"):
        try:
            opening = words.index("[", words.index(name))
            numbers = [float(word) for word in words[opening + 1 : words.index("]", opening)]]
        except ValueError as error:
            raise InputError(f"{path}: no row of numbers behind {name}") from error
        if len(numbers) != size or not all(math.isfinite(each) for each in numbers):
            raise InputError(
                f"{path}: {len(numbers)} numbers behind {name}, expected {size} finite ones"
            )
        found.append(numbers)
    return found[0], found[1]


def speech_tokenizer(source: Source) -> tuple[dict[str, Any], Names, dict[str, str]]:
    """GLM-4-Voice's tokenizer: its section, its tensors, and what is not used of it. InputError:
    another form, or another rate than SenseVoice's."""
    folder = source.part(SPEECH_TOKENIZER)
    names = source.add_part(SPEECH_TOKENIZER, folder)
    path, config = folder / "config.json", source.part_json(folder, "config.json")
    front = source.part_json(folder, "preprocessor_config.json")
    if front.get("sampling_rate", HEARD_RATE) != HEARD_RATE:
        raise InputError(
            f"{folder / 'preprocessor_config.json'}: a rate of {str(front['sampling_rate'])[:40]}"
            f" Hz, but the model hears {HEARD_RATE} Hz"
        )
    for key, expected in (
        ("encoder_causal_convolution", True), ("encoder_causal_attention", False),
        ("quantize_causal_encoder", False), ("pooling_type", "avg"),
        ("activation_function", "gelu"), ("scale_embedding", False),
    ):  # fmt: skip
        if config.get(key, expected) != expected:
            raise InputError(f"{path}: {key} is {str(config[key])[:40]!r}, expected {expected!r}")
    layers = whole(path, config, "quantize_position")
    if config.get("pooling_position", layers) != layers:
        raise InputError(f"{path}: pooling_position differs from quantize_position")
    inner = "model.encoder." if any("/model.encoder." in name for name in names) else ""
    theirs, ours = f"{SPEECH_TOKENIZER}/{inner}", "audio_quantiser"
    section = {
        "width": whole(path, config, "d_model"),
        "heads": whole(path, config, "encoder_attention_heads"),
        "mlp_width": whole(path, config, "encoder_ffn_dim"), "layers": layers,
        "mels": whole(path, config, "num_mel_bins"),
        "positions": whole(path, config, "max_source_positions"),
        "block": whole(path, config, "quantize_causal_block_size"),
        "pool": whole(path, config, "pooling_kernel_size"),
    }  # fmt: skip
    unused = {
        f"{theirs}ema_": "of training only",
        f"{theirs}embed_positions2": "codes stand before it",
        f"{theirs}layers.": "behind the codes",
    }
    return section, _whisper(ours, theirs, layers), unused


def _whisper(ours: str, theirs: str, layers: int) -> Names:
    tensors: Names = {
        f"{ours}.positions": (f"{theirs}embed_positions.weight",),
        f"{ours}.codebook": (f"{theirs}codebook.weight",),
        **affine(f"{ours}.first", f"{theirs}conv1"),
        **affine(f"{ours}.second", f"{theirs}conv2"),
    }
    for index in range(layers):
        for mine, name in LAYER.items():
            tensors |= affine(
                f"{ours}.layers.{index}.{mine}", f"{theirs}layers.{index}.{name}", mine != "key"
            )
    return tensors


def code_entries(source: Source) -> int:
    """The codes of the speech tokenizer that `speech_tokenizer` has opened."""
    name = next(
        each for each in source.tensors
        if each.startswith(f"{SPEECH_TOKENIZER}/") and each.endswith("codebook.weight")
    )  # fmt: skip
    return source.shape(name)[0]
