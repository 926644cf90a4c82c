"""Published image tokenizers: MAGVIT-v2 as MMaDA names it, aMUSEd's VQ-GAN as `diffusers` names
it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from nextomni_edge.checkpoints.source import IMAGE_TOKENIZER, Source
from nextomni_edge.errors import InputError

Names = dict[str, tuple[str | None, ...]]
T: Final = f"{IMAGE_TOKENIZER}/"


@dataclass(frozen=True)
class Codec:
    """A tokenizer of `entries` codes: our `image` section, and where its tensors come from."""

    entries: int
    config: dict[str, Any]
    tensors: Names


def image_tokenizer(source: Source) -> Codec | None:
    """The image tokenizer next to a model; None where there is none. InputError: another kind."""
    config = source.image_tokenizer()
    if config is None:
        return None
    makers: dict[object, Callable[[Source, dict[str, Any]], Codec]] = {
        "MAGVITv2": _magvit, "VQModel": _amused
    }  # fmt: skip
    name = config.get("_class_name")
    if name not in makers:
        raise InputError(
            f"{source.path}: the image tokenizer is a {str(name)[:40]!r}, expected one of"
            f" {', '.join(map(str, makers))}"
        )
    return makers[name](source, config)


def _affine(ours: str, theirs: str) -> Names:
    return {f"{ours}.{part}": (f"{T}{theirs}.{part}",) for part in ("weight", "bias")}


def _residual(source: Source, ours: str, theirs: str, shortcut: str) -> Names:
    found: Names = {}
    for part in ("norm1", "conv1", "norm2", "conv2"):
        found |= _affine(f"{ours}.{part}", f"{theirs}.{part}")
    if f"{T}{theirs}.{shortcut}.weight" in source.tensors:
        found |= _affine(f"{ours}.shortcut", f"{theirs}.{shortcut}")
    return found


def _ends(ours: str, theirs: str, norm: str) -> Names:
    return {
        **_affine(f"{ours}.first", f"{theirs}.conv_in"),
        **_affine(f"{ours}.norm", f"{theirs}.{norm}"),
        **_affine(f"{ours}.last", f"{theirs}.conv_out"),
    }


@dataclass(frozen=True)
class _Stack:
    """How one of the two networks names its levels, in the order they run in: each level's prefix,
    what follows it for block i, for the resizing convolution and for a shortcut."""

    levels: tuple[str, ...]
    block: str
    resize: str
    shortcut: str

    def tensors(self, source: Source, ours: str, blocks: list[int]) -> Names:
        found: Names = {}
        for index, (level, count) in enumerate(zip(self.levels, blocks, strict=True)):
            for block in range(count):
                found |= _residual(
                    source, f"{ours}.levels.{index}.residual.{block}",
                    f"{level}.{self.block}.{block}", self.shortcut,
                )  # fmt: skip
            if index < len(blocks) - 1:
                found |= _affine(f"{ours}.levels.{index}.resize.conv", f"{level}.{self.resize}")
        return found

    def sizes(self, source: Source) -> tuple[list[int], list[int]]:
        """(width, number of blocks) of each level."""
        first = [f"{T}{level}.{self.block}" for level in self.levels]
        widths = [source.shape(f"{name}.0.conv1.weight")[0] for name in first]
        return widths, [source.count(f"{name}.") for name in first]


def _sizes(
    source: Source, base: str, widths: list[int], blocks: list[int], given: dict[str, Any]
) -> dict[str, Any]:
    """Our section of a network whose widths stand shallow level first. InputError: widths that are
    no multiples of the first convolution's."""
    channels = source.shape(f"{T}{base}")[0]
    if not channels or any(width % channels for width in widths):
        raise InputError(
            f"{source.path}: the image tokenizer's levels have widths {widths}, expected multiples"
            f" of {channels}"
        )
    multipliers = [width // channels for width in widths]
    return {"channels": channels, "multipliers": multipliers, "blocks": blocks, **given}


def _magvit(source: Source, config: dict[str, Any]) -> Codec:
    """MAGVIT-v2: a code is its latent's signs. Its config.json has no sizes, so the tensors' shapes
    tell them; GroupNorm's groups are 32 where "norm_groups" says no other number."""
    levels = source.count(f"{T}encoder.down.")
    names = {
        "encoder": tuple(f"encoder.down.{index}" for index in range(levels)),
        "decoder": tuple(f"decoder.up.{index}" for index in reversed(range(levels))),
    }
    bits = source.shape(f"{T}encoder.quant_conv.weight")[0]
    given = {
        "latent_channels": bits, "lookup": "sign",
        "groups": source.size(config, "norm_groups", 32),
    }  # fmt: skip
    sections, tensors = {}, Names()
    for part, resize in (("encoder", "downsample"), ("decoder", "upsample")):
        stack = _Stack(names[part], "block", f"{resize}.conv", "nin_shortcut")
        widths, blocks = stack.sizes(source)
        ours = f"image_{part}"
        tensors |= stack.tensors(source, ours, blocks) | _ends(ours, part, "norm_out")
        for index, block in ((0, "block_1"), (2, "block_2")):
            theirs = f"{part}.mid.{block}"
            tensors |= _residual(source, f"{ours}.middle.{index}", theirs, "nin_shortcut")
        for mine, theirs in (
            ("norm", "norm"), ("query", "q"), ("key", "k"), ("value", "v"), ("out", "proj_out")
        ):  # fmt: skip
            tensors |= _affine(f"{ours}.middle.1.{mine}", f"{part}.mid.attn_1.{theirs}")
        shallow = slice(None, None, 1 if part == "encoder" else -1)
        base = f"{part}.{'conv_in' if part == 'encoder' else 'norm_out'}.weight"
        sections[part] = _sizes(source, base, widths[shallow], blocks[shallow], given)
    tensors |= _affine("image_encoder.narrow", "encoder.quant_conv")
    tensors |= _affine("image_decoder.widen", "decoder.post_quant_conv")
    codebook = {"codebooks": 1, "entries": 2**bits, "code_dim": bits}
    image = {"codebook": codebook, "vq": sections["decoder"], "vq_encoder": sections["encoder"]}
    return Codec(2**bits, {"patch": 2 ** (levels - 1), "max_frames": 1, **image}, tensors)


def _amused(source: Source, config: dict[str, Any]) -> Codec:
    """aMUSEd's `VQModel`: a code is the nearest row of a codebook; pixels are in [0, 1]."""
    for key, expected in (
        ("act_fn", "silu"), ("norm_type", "group"), ("lookup_from_codebook", True),
        ("vq_embed_dim", None), ("mid_block_add_attention", False),
    ):  # fmt: skip
        if config.get(key, expected) != expected:
            raise InputError(
                f"{source.path}: the image tokenizer's {key} is {str(config[key])[:40]!r}, expected"
                f" {expected!r}"
            )
    levels = source.count(f"{T}encoder.down_blocks.")
    entries, dimension = source.shape(f"{T}quantize.embedding.weight")
    given = {
        "latent_channels": source.size(config, "latent_channels"), "lookup": "nearest",
        "pixels": "unit", "attends": False, "groups": source.size(config, "norm_num_groups", 32),
    }  # fmt: skip
    sections, tensors = {}, Names()
    for part, levels_of, resize in (
        ("encoder", "down_blocks", "downsamplers"), ("decoder", "up_blocks", "upsamplers"),
    ):  # fmt: skip
        names = tuple(f"{part}.{levels_of}.{index}" for index in range(levels))
        stack, ours = _Stack(names, "resnets", f"{resize}.0.conv", "conv_shortcut"), f"image_{part}"
        widths, blocks = stack.sizes(source)
        tensors |= stack.tensors(source, ours, blocks) | _ends(ours, part, "conv_norm_out")
        for index, block in ((0, 0), (2, 1)):
            theirs = f"{part}.mid_block.resnets.{block}"
            tensors |= _residual(source, f"{ours}.middle.{index}", theirs, "conv_shortcut")
        shallow = slice(None, None, 1 if part == "encoder" else -1)
        base = f"{part}.{'conv_in' if part == 'encoder' else 'conv_norm_out'}.weight"
        sections[part] = _sizes(source, base, widths[shallow], blocks[shallow], given)
    tensors |= _affine("image_encoder.narrow", "quant_conv")
    tensors |= _affine("image_decoder.widen", "post_quant_conv")
    tensors["image_decoder.codebook"] = (f"{T}quantize.embedding.weight",)
    codebook = {"codebooks": 1, "entries": entries, "code_dim": dimension}
    image = {"codebook": codebook, "vq": sections["decoder"], "vq_encoder": sections["encoder"]}
    return Codec(entries, {"patch": 2 ** (levels - 1), "max_frames": 1, **image}, tensors)
