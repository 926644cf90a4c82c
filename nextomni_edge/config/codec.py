"""The section of Higgs Audio's speech codec: a DAC-type encoder and decoder of samples, a
HuBERT-type encoder of what is said, and residual quantisers."""

from __future__ import annotations

import math
from dataclasses import dataclass

Checks = list[tuple[bool, str]]  # (whether it holds, sentence)


@dataclass(frozen=True)
class SemanticConfig:
    """HuBERT (arXiv 2106.07447): convolutions over samples at `rate` Hz, a grouped convolution of
    `position_kernel` rows as position, `layers` post-norm blocks. Every `every`-th row of the mean
    of all its hidden states goes through `blocks` blocks of dilated convolutions."""

    rate: int = 16_000
    conv_widths: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    norm_eps: float = 1e-5
    position_kernel: int = 128
    position_groups: int = 16
    every: int = 2
    kernel: int = 3
    unit_kernel: int = 3
    blocks: int = 2
    dilations: tuple[int, ...] = (1, 1)

    def rows(self, samples: int) -> int:
        """Rows of a sound of so many samples, which 160 zeros surround."""
        length = samples + 2 * PADDING
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            length = (length - kernel) // stride + 1
        return -(-length // self.every)


@dataclass(frozen=True)
class SpeechCodecConfig:
    """Higgs Audio v2's tokenizer: samples to K codes of `entries` values for every `token` samples,
    and back. `down` and `up` are the strides of the acoustic encoder and decoder, `width` what both
    meet in, `code_dim` the width of a quantiser's rows."""

    entries: int = 1024
    code_dim: int = 64
    width: int = 256
    encoder_width: int = 64
    down: tuple[int, ...] = (8, 5, 4, 2, 3)
    decoder_width: int = 1024
    up: tuple[int, ...] = (8, 5, 4, 2, 3)
    semantic: SemanticConfig = SemanticConfig()

    @property
    def token(self) -> int:
        """Samples of one token."""
        return math.prod(self.down)


PADDING = 160  # zeros before and behind the samples that HuBERT reads


def codec_checks(codec: SpeechCodecConfig, token: int, rate: int) -> Checks:
    """Sizes that must fit together; `token` samples at `rate` Hz make a token of the model."""
    semantic = codec.semantic
    lists = (codec.down, codec.up, semantic.conv_widths, semantic.conv_kernels,
             semantic.conv_strides, semantic.dilations)  # fmt: skip
    if not all(0 < len(each) <= 16 and 0 < min(each) <= max(each) < 2**14 for each in lists):
        return [(False, "audio.codec: strides, kernels and widths must be short lists of sizes")]
    convolutions = {len(each) for each in lists[2:5]}
    aligned = len(convolutions) == 1 and all(
        semantic.rows(-(-tokens * token * semantic.rate // rate)) == tokens
        for tokens in range(1, 65)
    )
    return [
        (
            codec.token == math.prod(codec.up) == token,
            f"audio.codec.down and up must multiply to a token's {token} samples",
        ),
        (
            codec.decoder_width % 2 ** len(codec.up) == 0,
            "audio.codec.decoder_width must halve once for each stride of up",
        ),
        (
            token * semantic.rate % rate == 0,
            "audio.codec.semantic.rate must give a whole number of samples for each token",
        ),
        (aligned, "audio.codec.semantic must give one row for each token"),
        (
            semantic.width % semantic.heads == 0 and semantic.width % semantic.position_groups == 0,
            "audio.codec.semantic.width must be a multiple of its heads and position_groups",
        ),
        (
            semantic.kernel % 2 == semantic.unit_kernel % 2 == 1,
            "audio.codec.semantic's kernels must be odd",
        ),
    ]
