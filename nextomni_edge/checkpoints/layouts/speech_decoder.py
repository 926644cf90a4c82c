"""GLM-4-Voice's decoder of speech codes: CosyVoice's flow.pt and hift.pt next to a config.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.checkpoints.pickled import state_dict
from nextomni_edge.checkpoints.source import Source
from nextomni_edge.checkpoints.yaml_config import number, read_yaml, section, whole, wholes
from nextomni_edge.errors import InputError

Arrays = Mapping[str, NDArray[Any]]
Pairs = Iterator[tuple[str, str]]  # our tensor, and theirs

SPEECH_DECODER: Final = "speech_decoder"
CONDITION, VELOCITY = "speech_condition", "speech_velocity"
PITCH, VOCODER = "speech_pitch", "vocoder"
NETWORK: Final = "decoder.estimator."
CONFORMER: Final = {
    "attention_norm": "norm_mha", "attention.query": "self_attn.linear_q",
    "attention.key": "self_attn.linear_k", "attention.value": "self_attn.linear_v",
    "attention.out": "self_attn.linear_out", "mlp_norm": "norm_ff", "up": "feed_forward.w_1",
    "down": "feed_forward.w_2",
}  # fmt: skip
UNIT: Final = {
    "norm1": "norm1", "out": "attn1.to_out.0", "norm2": "norm3", "up": "ff.net.0.proj",
    "down": "ff.net.2",
}  # fmt: skip
# of the published code, which its config.yaml does not name
STEPS: Final = 10


def speech_decoder(
    source: Source, rate: int
) -> tuple[dict[str, Any], dict[str, Any], dict[str, NDArray[Any]]]:
    """The flow's section, the vocoder's, and the tensors of both, which are converted as they stand
    in pickles. InputError: a file is missing, or has another form or rate."""
    folder = source.part(SPEECH_DECODER)
    path = folder / "config.yaml"
    config = read_yaml(path)
    found = whole(path, section(path, config, "hift"), "sampling_rate", rate)
    if found != rate or whole(path, config, "sample_rate", rate) != rate:
        raise InputError(f"{path}: a decoder of {found} Hz, but the model speaks at {rate} Hz")
    flow, hift = (state_dict(folder / name) for name in ("flow.pt", "hift.pt"))
    flow_section = _flow(path, config, flow)
    vocoder_section = _vocoder(path, section(path, config, "hift"), hift)
    tensors = _taken(folder / "flow.pt", flow, _flow_names(flow_section, flow))
    tensors |= _taken(folder / "hift.pt", _folded(hift), _vocoder_names(vocoder_section))
    return flow_section, vocoder_section, tensors


def _taken(path: Path, theirs: Arrays, pairs: Pairs) -> dict[str, NDArray[Any]]:
    """Our tensors by name. InputError: one is missing."""
    found: dict[str, NDArray[Any]] = {}
    for ours, name in pairs:
        if name not in theirs:
            raise InputError(f"{path}: tensor {name} is missing")
        if not np.isfinite(theirs[name]).all():
            raise InputError(f"{path}: tensor {name} has values that are not finite")
        found[ours] = np.ascontiguousarray(theirs[name])
    return found


def _shape(path: Path, theirs: Arrays, name: str) -> tuple[int, ...]:
    if name not in theirs:
        raise InputError(f"{path}: tensor {name} is missing")
    return theirs[name].shape


def _count(theirs: Arrays, prefix: str) -> int:
    numbers = {
        name.removeprefix(prefix).split(".")[0] for name in theirs if name.startswith(prefix)
    }
    return sum(each.isdecimal() for each in numbers)


def _flow(path: Path, config: dict[str, Any], flow: Arrays) -> dict[str, Any]:
    """The flow's section: sizes from its tensors, the rest from config.yaml."""
    given = section(path, config, "flow")
    encoder, network = (section(path, given, *keys) for keys in (
        ("encoder",), ("decoder", "estimator")
    ))  # fmt: skip
    cfm = section(path, given, "decoder", "cfm_params", "content")
    for part, key, expected in (
        (encoder, "use_cnn_module", False), (encoder, "macaron_style", False),
        (encoder, "normalize_before", True), (cfm, "solver", "euler"),
        (cfm, "t_scheduler", "cosine"), (network, "act_fn", "gelu"),
    ):  # fmt: skip
        if part.get(key, expected) != expected:
            raise InputError(f"{path}: {key} is {str(part[key])[:40]!r}, expected {expected!r}")
    layers, file = _count(flow, "encoder.encoders."), path.with_name("flow.pt")
    bias = _shape(file, flow, "encoder.encoders.0.self_attn.pos_bias_u")
    inner = _shape(file, flow, f"{NETWORK}mid_blocks.0.1.0.attn1.to_q.weight")[0]
    heads = whole(path, network, "num_heads", 8)
    downs = _count(flow, f"{NETWORK}down_blocks.")
    channels = [
        _shape(file, flow, f"{NETWORK}down_blocks.{index}.0.res_conv.weight")[0]
        for index in range(downs)
    ]
    return {
        "width": _shape(file, flow, "input_embedding.weight")[1], "heads": bias[0],
        "mlp_width": _shape(file, flow, "encoder.encoders.0.feed_forward.w_1.weight")[0],
        "layers": layers, "block": whole(path, encoder, "block_size", 10),
        "mels": _shape(file, flow, "encoder_proj.weight")[0],
        "speaker_width": _shape(file, flow, "spk_embed_affine_layer.weight")[1],
        "channels": channels, "unit_blocks": _count(flow, f"{NETWORK}down_blocks.0.1."),
        "middle_units": _count(flow, f"{NETWORK}mid_blocks."), "unit_heads": heads,
        "unit_head_width": inner // heads, "steps": STEPS,
        "guidance": number(path, cfm, "inference_cfg_rate", 0.7),
        "code_rate": number(path, given, "input_frame_rate", 12.5),
    }  # fmt: skip


def _both(ours: str, theirs: str) -> Pairs:
    yield from ((f"{ours}.{part}", f"{theirs}.{part}") for part in ("weight", "bias"))


def _flow_names(config: dict[str, Any], flow: Arrays) -> Pairs:
    ours = CONDITION
    yield f"{ours}.table", "input_embedding.weight"
    yield f"{ours}.speaker", "spk_embed_affine_layer.bias"
    for mine, name in (
        ("embed", "encoder.embed.out.0"), ("embed_norm", "encoder.embed.out.1"),
        ("norm", "encoder.after_norm"), ("project", "encoder_proj"),
        ("last", "length_regulator.model.12"),
    ):  # fmt: skip
        yield from _both(f"{ours}.{mine}", name)
    for index in range(config["layers"]):
        layer, theirs = f"{ours}.layers.{index}", f"encoder.encoders.{index}"
        for mine, name in CONFORMER.items():
            yield from _both(f"{layer}.{mine}", f"{theirs}.{name}")
        yield f"{layer}.attention.distance.weight", f"{theirs}.self_attn.linear_pos.weight"
        yield f"{layer}.attention.content_bias", f"{theirs}.self_attn.pos_bias_u"
        yield f"{layer}.attention.distance_bias", f"{theirs}.self_attn.pos_bias_v"
    for index in range(4):
        yield from _both(f"{ours}.smooth.{index}", f"length_regulator.model.{3 * index}")
        yield from _both(f"{ours}.smooth_norms.{index}", f"length_regulator.model.{3 * index + 1}")
    ours = VELOCITY
    for mine, name in (
        ("time_first", "time_mlp.linear_1"), ("time_second", "time_mlp.linear_2"),
        ("last.conv", "final_block.block.0"), ("last.norm", "final_block.block.1"),
        ("out", "final_proj"),
    ):  # fmt: skip
        yield from _both(f"{ours}.{mine}", NETWORK + name)
    levels = len(config["channels"])
    for mine, name, count in (
        ("down", "down_blocks", levels), ("middle", "mid_blocks", config["middle_units"]),
        ("up", "up_blocks", levels),
    ):  # fmt: skip
        for index in range(count):
            yield from _stage(f"{ours}.{mine}.{index}", f"{NETWORK}{name}.{index}", config)
    for mine, name in (("narrow", "down_blocks"), ("widen", "up_blocks")):
        for index in range(levels):
            theirs = f"{NETWORK}{name}.{index}.2"
            inner = f"{theirs}.conv" if f"{theirs}.conv.weight" in flow else theirs
            yield from _both(f"{ours}.{mine}.{index}", inner)


def _stage(ours: str, theirs: str, config: dict[str, Any]) -> Pairs:
    for mine, name in (("first", "block1"), ("second", "block2")):
        yield from _both(f"{ours}.residual.{mine}.conv", f"{theirs}.0.{name}.block.0")
        yield from _both(f"{ours}.residual.{mine}.norm", f"{theirs}.0.{name}.block.1")
    yield from _both(f"{ours}.residual.time", f"{theirs}.0.mlp.1")
    yield from _both(f"{ours}.residual.shortcut", f"{theirs}.0.res_conv")
    for index in range(config["unit_blocks"]):
        unit, name = f"{ours}.units.{index}", f"{theirs}.1.{index}"
        for mine, each in UNIT.items():
            yield from _both(f"{unit}.{mine}", f"{name}.{each}")
        for mine, each in (("query", "q"), ("key", "k"), ("value", "v")):
            yield f"{unit}.{mine}.weight", f"{name}.attn1.to_{each}.weight"


def _vocoder(path: Path, given: Mapping[str, Any], hift: Arrays) -> dict[str, Any]:
    """The vocoder's section: config.yaml's numbers, and widths of its tensors."""
    file, transform = path.with_name("hift.pt"), given.get("istft_params")
    transform = transform if isinstance(transform, dict) else {}
    rows = _shape(file, hift, "conv_post.weight_v")[0]
    n_fft = whole(path, transform, "n_fft", 16)
    if rows != n_fft + 2:
        raise InputError(f"{path}: an n_fft of {n_fft}, but {file.name} is made for {rows - 2}")
    dilations = given.get("resblock_dilation_sizes", [[1, 3, 5]])
    every = [*dilations, *given.get("source_resblock_dilation_sizes", dilations[:1])]
    if any(each != every[0] for each in every):
        raise InputError(f"{path}: dilations differ from block to block, expected the same")
    return {
        "width": _shape(file, hift, "conv_pre.weight_v")[0],
        "pitch_width": _shape(file, hift, "f0_predictor.condnet.0.weight_v")[0],
        "rates": wholes(path, given, "upsample_rates", [8, 8]),
        "rate_kernels": wholes(path, given, "upsample_kernel_sizes", [16, 16]),
        "n_fft": n_fft, "hop": whole(path, transform, "hop_len", 4),
        "kernels": wholes(path, given, "resblock_kernel_sizes", [3, 7, 11]),
        "source_kernels": wholes(path, given, "source_resblock_kernel_sizes", [7, 11]),
        "dilations": wholes(path, {"dilations": every[0]}, "dilations", [1]),
        "harmonics": whole(path, given, "nb_harmonics", 8),
        "sine_size": number(path, given, "nsf_alpha", 0.1),
        "noise_size": number(path, given, "nsf_sigma", 0.003),
        "voiced": number(path, given, "nsf_voiced_threshold", 10),
        "slope": number(path, given, "lrelu_slope", 0.1),
        "limit": number(path, given, "audio_limit", 0.99),
    }  # fmt: skip


def _folded(theirs: Arrays) -> dict[str, NDArray[Any]]:
    """Weight normalisation as plain weights: g·v/‖v‖, each row's norm over all other axes."""
    found: dict[str, NDArray[Any]] = {}
    for name, array in theirs.items():
        if name.endswith(".weight_v") and f"{name[:-1]}g" in theirs:
            axes = tuple(range(1, array.ndim))
            v = array.astype(np.float64)
            norm = np.sqrt(np.square(v).sum(axis=axes, keepdims=True))
            folded = theirs[f"{name[:-1]}g"] * v / np.maximum(norm, np.finfo(np.float64).tiny)
            found[name.removesuffix("_v")] = folded.astype(np.float32)
        elif not name.endswith(".weight_g"):
            found[name] = array
    return found


def _vocoder_names(config: dict[str, Any]) -> Pairs:
    ours, levels, kernels = VOCODER, len(config["rates"]), len(config["kernels"])
    for index in range(5):
        yield from _both(f"{PITCH}.convs.{index}", f"f0_predictor.condnet.{2 * index}")
    yield from _both(f"{PITCH}.out", "f0_predictor.classifier")
    for mine, name in (
        ("merge", "m_source.l_linear"),
        ("first", "conv_pre"),
        ("last", "conv_post"),
    ):
        yield from _both(f"{ours}.{mine}", name)
    for index in range(levels):
        yield from _both(f"{ours}.up.{index}", f"ups.{index}")
        yield from _both(f"{ours}.source.{index}", f"source_downs.{index}")
        stack = (f"{ours}.source_stacks.{index}", f"source_resblocks.{index}")
        yield from _stack(*stack, len(config["dilations"]))
    for index in range(levels * kernels):
        yield from _stack(f"{ours}.stacks.{index}", f"resblocks.{index}", len(config["dilations"]))


def _stack(ours: str, theirs: str, count: int) -> Pairs:
    for index in range(count):
        for mine, number_of in (("first", 1), ("second", 2)):
            yield from _both(f"{ours}.{mine}.{index}", f"{theirs}.convs{number_of}.{index}")
            yield (
                f"{ours}.{mine}_act.{index}.alpha", f"{theirs}.activations{number_of}.{index}.alpha"
            )  # fmt: skip
