"""Random OmniVoice checkpoints of three shapes, in the files that its own `save_pretrained` writes;
record_omnivoice.py checks that. Every weight comes from Philox, so none is kept."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|denoise|>", "<|lang_start|>", "<|lang_end|>",
    "<|instruct_start|>", "<|instruct_end|>", "<|text_start|>", "<|text_end|>",
)  # fmt: skip
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # noqa: E501
MERGES = ("th", "he", "in", "er", "an", "ou", "ice", "ee")
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Shape:
    """Sizes of one checkpoint. `rate`, `heard`: samples a second of the sound, and of HuBERT."""

    hidden: int
    layers: int
    heads: tuple[int, int]
    head: int
    symbols: int
    books: int
    rate: int
    heard: int
    ratios: tuple[int, ...]
    width: int
    semantic: int
    dilations: tuple[int, ...] = (1, 1)
    kernels: tuple[int, ...] = field(default=(10, 3, 3, 3, 3, 2, 2))

    @property
    def token(self) -> int:
        return math.prod(self.ratios)


SHAPES = {
    "narrow": Shape(48, 2, (4, 2), 16, 257, 8, 12_000, 8_000, (8, 5, 4, 3), 12, 16),
    "published": Shape(40, 3, (5, 5), 10, 1025, 8, 24_000, 16_000, (8, 5, 4, 2, 3), 8, 24, (1, 3)),
    "few": Shape(32, 2, (6, 2), 8, 65, 4, 16_000, 16_000, (8, 5, 4, 4), 16, 8),
}
CONVS, STRIDES = 4, (5, 2, 2, 2, 2, 2, 2)


def write(out: Path, name: str) -> None:
    """The folder of one shape."""
    shape = SHAPES[name]
    codec = out / "audio_tokenizer"
    codec.mkdir(parents=True)
    tokenizer().save(str(out / "tokenizer.json"))
    # the package looks codes up in the text table too, before it drops the rows
    vocabulary = max(tokenizer().get_vocab_size(), shape.symbols + 7)
    files: dict[Path, Any] = {
        out / "config.json": config(shape, vocabulary),
        out / "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|endoftext|>",
            "eos_token": "<|im_end|>",
        },
        codec / "config.json": codec_config(shape),
        codec / "preprocessor_config.json": {
            "feature_extractor_type": "DacFeatureExtractor", "feature_size": 1,
            "hop_length": shape.token, "padding_side": "right", "padding_value": 0.0,
            "return_attention_mask": True, "sampling_rate": shape.rate,
        },
    }  # fmt: skip
    for path, data in files.items():
        path.write_text(json.dumps(data, indent=2), encoding="utf-8")
    own = filled(shapes(shape, vocabulary), len(name))
    offsets = np.arange(shape.books, dtype=np.int64) * shape.symbols
    save_file(own | {"codebook_layer_offsets": offsets}, out / "model.safetensors")
    save_file(filled(codec_shapes(shape), len(name) + 1), codec / "model.safetensors")


def filled(found: Shapes, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights by the names' order: gains near 1, small biases, matrices by their width."""
    tensors = {}
    for index, (name, shape) in enumerate(sorted(found.items())):
        draw = np.random.Generator(np.random.Philox(key=1000 * seed + index)).standard_normal(shape)
        spread = 1.0 / math.sqrt(max(1, math.prod(shape[1:])))
        if name.startswith("audio_"):  # so that the heads are sure of something
            spread *= 4.0 if "heads" in name else 2.0
        if name.startswith("acoustic_decoder"):  # so that samples are of a sound's size
            spread *= 0.05 if name == "acoustic_decoder.conv2.weight" else 0.6
        if "codebook." in name:
            spread = 1.0
        if name.endswith("inited"):
            draw, spread = np.ones(shape), 1.0
        if len(shape) == 1 or "alpha" in name or name.endswith("original0"):
            spread = 0.1
            gain = "norm" in name or "alpha" in name or name.endswith("original0")
            draw = draw + (10.0 if gain and not name.endswith("bias") else 0.0)
        tensors[name] = (draw * spread).astype(np.float32)
    return tensors


def tokenizer() -> Tokenizer:
    """A byte-level tokenizer as Qwen's, with a few merges."""
    alphabet = sorted(ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    merges = []
    for word in MERGES:
        left = word[0]
        for letter in word[1:]:
            if left + letter not in vocabulary:
                vocabulary[left + letter] = len(vocabulary)
                merges.append((left, letter))
            left += letter
    made = Tokenizer(BPE(vocabulary, merges))
    made.normalizer = NFC()
    made.pre_tokenizer = Sequence(
        [Split(Regex(WORDS), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = ByteLevelDecoder()
    made.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    return made


def config(shape: Shape, vocabulary: int) -> dict[str, Any]:
    query, kv = shape.heads
    return {
        "architectures": ["OmniVoice"], "model_type": "omnivoice", "dtype": "float32",
        "audio_vocab_size": shape.symbols, "audio_mask_id": shape.symbols - 1,
        "num_audio_codebook": shape.books,
        "audio_codebook_weights": [8, 8, 6, 6, 4, 4, 2, 2][: shape.books],
        "llm_config": {
            "model_type": "qwen3", "vocab_size": vocabulary, "hidden_size": shape.hidden,
            "intermediate_size": 2 * shape.hidden, "num_hidden_layers": shape.layers,
            "num_attention_heads": query, "num_key_value_heads": kv, "head_dim": shape.head,
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
            "hidden_act": "silu", "attention_bias": False, "sliding_window": None,
            "use_sliding_window": False, "layer_types": ["full_attention"] * shape.layers,
            "rope_parameters": {"rope_theta": 1_000_000.0, "rope_type": "default"},
        },
    }  # fmt: skip


def codec_config(shape: Shape) -> dict[str, Any]:
    bits = math.ceil(math.log2(shape.symbols - 1))
    rate = math.ceil(shape.rate / shape.token)
    return {
        "architectures": ["HiggsAudioV2TokenizerModel"], "model_type": "higgs_audio_v2_tokenizer",
        "dtype": "float32", "sample_rate": shape.rate, "semantic_sample_rate": shape.heard,
        "target_bandwidths": [rate * bits / 1000, rate * bits * shape.books / 1000],
        "codebook_size": shape.symbols - 1, "codebook_dim": 6, "kernel_size": 3,
        "unit_kernel_size": 3, "channel_ratios": [1, 1], "strides": [1, 1],
        "block_dilations": list(shape.dilations), "downsample_factor": math.prod(STRIDES),
        "acoustic_model_config": {
            "model_type": "dac", "encoder_hidden_size": 4, "hidden_size": shape.width,
            "decoder_hidden_size": 2 ** len(shape.ratios) * 2,
            "downsampling_ratios": list(shape.ratios), "upsampling_ratios": list(shape.ratios),
            "hop_length": shape.token,
        },
        "semantic_model_config": {
            "model_type": "hubert", "hidden_size": shape.semantic, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 24, "mask_time_prob": 0.0,
            "conv_dim": [CONVS] * 7, "conv_stride": list(STRIDES),
            "conv_kernel": list(shape.kernels), "num_feat_extract_layers": 7,
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
        },
    }  # fmt: skip


def shapes(shape: Shape, vocabulary: int) -> Shapes:
    hidden, (query, kv), rows = shape.hidden, shape.heads, shape.books * shape.symbols
    found: Shapes = {
        "llm.embed_tokens.weight": (vocabulary, hidden), "llm.norm.weight": (hidden,),
        "audio_embeddings.weight": (rows, hidden), "audio_heads.weight": (rows, hidden),
    }  # fmt: skip
    for index in range(shape.layers):
        layer, attention = f"llm.layers.{index}", f"llm.layers.{index}.self_attn"
        found |= {
            f"{layer}.input_layernorm.weight": (hidden,),
            f"{layer}.post_attention_layernorm.weight": (hidden,),
            f"{layer}.mlp.gate_proj.weight": (2 * hidden, hidden),
            f"{layer}.mlp.up_proj.weight": (2 * hidden, hidden),
            f"{layer}.mlp.down_proj.weight": (hidden, 2 * hidden),
            f"{attention}.q_proj.weight": (query * shape.head, hidden),
            f"{attention}.k_proj.weight": (kv * shape.head, hidden),
            f"{attention}.v_proj.weight": (kv * shape.head, hidden),
            f"{attention}.o_proj.weight": (hidden, query * shape.head),
            f"{attention}.q_norm.weight": (shape.head,),
            f"{attention}.k_norm.weight": (shape.head,),
        }  # fmt: skip
    return found


def codec_shapes(shape: Shape) -> Shapes:
    width, semantic = shape.width, shape.semantic
    both, entries = width + semantic, shape.symbols - 1
    found: Shapes = {}
    for name, out, given in (("fc", both, both), ("fc1", semantic, both), ("fc2", width, both)):
        found |= _linear(name, out, given)
    for index in range(shape.books):
        quantiser = f"quantizer.quantizers.{index}"
        found |= {
            f"{quantiser}.codebook.{name}": size
            for name, size in (("embed", (entries, 6)), ("embed_avg", (entries, 6)),
                               ("cluster_size", (entries,)), ("inited", (1,)))
        }  # fmt: skip
        found |= _linear(f"{quantiser}.project_in", 6, both)
        found |= _linear(f"{quantiser}.project_out", both, 6)
    return found | _acoustic(shape) | _hubert(semantic, shape.kernels) | _semantic(shape)


def _linear(name: str, *weight: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _unit(name: str, width: int) -> Shapes:
    found = _linear(f"{name}.conv1", width, width, 7) | _linear(f"{name}.conv2", width, width, 1)
    return found | {f"{name}.snake{index}.alpha": (1, width, 1) for index in (1, 2)}


def _acoustic(shape: Shape) -> Shapes:
    first, last = 4, 2 ** len(shape.ratios) * 2
    found = _linear("acoustic_encoder.conv1", first, 1, 7)
    found |= _linear("acoustic_decoder.conv1", last, shape.width, 7)
    for level, stride in enumerate(shape.ratios):
        width, block = first * 2**level, f"acoustic_encoder.block.{level}"
        found |= _linear(f"{block}.conv1", 2 * width, width, 2 * stride)
        found[f"{block}.snake1.alpha"] = (1, width, 1)
        wide, up = last // 2**level, f"acoustic_decoder.block.{level}"
        found[f"{up}.conv_t1.weight"] = (wide, wide // 2, 2 * stride)
        found[f"{up}.conv_t1.bias"] = (wide // 2,)
        found[f"{up}.snake1.alpha"] = (1, wide, 1)
        for unit in (1, 2, 3):
            found |= _unit(f"{block}.res_unit{unit}", width)
            found |= _unit(f"{up}.res_unit{unit}", wide // 2)
    deep = first * 2 ** len(shape.ratios)
    found |= _linear("acoustic_encoder.conv2", shape.width, deep, 3)
    found |= _linear("acoustic_decoder.conv2", 1, 2, 7)
    return found | {
        "acoustic_encoder.snake1.alpha": (1, deep, 1), "acoustic_decoder.snake1.alpha": (1, 2, 1),
    }  # fmt: skip


def _hubert(width: int, kernels: tuple[int, ...]) -> Shapes:
    extractor, encoder = "semantic_model.feature_extractor.conv_layers", "semantic_model.encoder"
    found: Shapes = {}
    for index, kernel in enumerate(kernels):
        found[f"{extractor}.{index}.conv.weight"] = (CONVS, CONVS if index else 1, kernel)
    found |= _linear(f"{extractor}.0.layer_norm", CONVS)
    found |= _linear("semantic_model.feature_projection.layer_norm", CONVS)
    found |= _linear("semantic_model.feature_projection.projection", width, CONVS)
    found |= _linear(f"{encoder}.layer_norm", width)
    conv = f"{encoder}.pos_conv_embed.conv"
    found |= {
        f"{conv}.bias": (width,), f"{conv}.parametrizations.weight.original0": (1, 1, 8),
        f"{conv}.parametrizations.weight.original1": (width, width // 4, 8),
    }  # fmt: skip
    for index in range(2):
        layer = f"{encoder}.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= _linear(f"{layer}.attention.{name}", width, width)
        found |= _linear(f"{layer}.feed_forward.intermediate_dense", 24, width)
        found |= _linear(f"{layer}.feed_forward.output_dense", width, 24)
        found |= _linear(f"{layer}.layer_norm", width)
        found |= _linear(f"{layer}.final_layer_norm", width)
    return found


def _semantic(shape: Shape) -> Shapes:
    width, found = shape.semantic, Shapes()
    found["encoder_semantic.conv.weight"] = (width, width, 3)
    found |= {f"decoder_semantic.conv{index}.weight": (width, width, 3) for index in (1, 2)}
    for side in ("encoder", "decoder"):
        for index in range(2):
            block = f"{side}_semantic.conv_blocks.{index}"
            found |= _linear(f"{block}.conv", width, width, 3)
            for unit in range(len(shape.dilations)):
                found[f"{block}.res_units.{unit}.conv1.weight"] = (width, width, 3)
                found[f"{block}.res_units.{unit}.conv2.weight"] = (width, width, 1)
    return found


def clip(seconds: float = 1.6, rate: int = 44_100) -> NDArray[np.float32]:
    """A quiet sound of two channels, (samples,2) float32, with a silence in its midst and at both
    ends."""
    time = np.arange(int(seconds * rate)) / rate
    sines = [np.sin(2 * np.pi * pitch * time) * 0.04 for pitch in (181.0, 397.0, 2111.0)]
    noise = np.random.Generator(np.random.Philox(key=5)).standard_normal(len(time)) * 0.01
    loud = (time > 0.15) & (time < seconds - 0.3) & ~((time > 0.5) & (time < 0.95))
    left, right = (sines[0] + sines[1] + noise) * loud, (sines[0] + sines[2] + noise) * loud
    return np.stack([left, right], axis=1).astype(np.float32)
