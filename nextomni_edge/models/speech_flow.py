"""The velocity of a mel spectrogram in a continuous flow (Matcha-TTS, arXiv 2309.03199; CosyVoice,
arXiv 2407.05407): a one-dimensional U-Net with transformer blocks."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import SpeechFlowConfig
from nextomni_edge.config.speech import GROUPS
from nextomni_edge.models.transformer import sinusoids_of

TIME_SCALE: float = 1000.0  # of the time in its sinusoids


class ConvBlock(nn.Module):
    """A convolution of three frames, GroupNorm and Mish: (B,in,T) → (B,out,T)."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(size_in, size_out, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, size_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(self.norm(self.conv(x)))


class TimedResidual(nn.Module):
    """Two convolutions with the time's embedding (B,E) added between them, next to a shortcut."""

    def __init__(self, size_in: int, size_out: int, time_width: int) -> None:
        super().__init__()
        self.first = ConvBlock(size_in, size_out)
        self.second = ConvBlock(size_out, size_out)
        self.time = nn.Linear(time_width, size_out)
        self.shortcut = nn.Conv1d(size_in, size_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.first(x) + self.time(F.mish(time))[:, :, None]
        out: Tensor = self.second(h) + self.shortcut(x)
        return out


class UnitBlock(nn.Module):
    """Attention between all frames (B,T,C) and a GELU MLP, each behind LayerNorm."""

    def __init__(self, width: int, config: SpeechFlowConfig) -> None:
        super().__init__()
        inner, self.heads = config.unit_heads * config.unit_head_width, config.unit_heads
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        split = (
            project(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        x = x + self.out(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return out


class Stage(nn.Module):
    """One resolution: a timed residual block, then transformer blocks over its frames."""

    def __init__(self, size_in: int, size_out: int, config: SpeechFlowConfig) -> None:
        super().__init__()
        self.residual = TimedResidual(size_in, size_out, 4 * config.channels[0])
        self.units = nn.Sequential(
            *(UnitBlock(size_out, config) for _ in range(config.unit_blocks))
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.units(self.residual(x, time).transpose(1, 2)).transpose(1, 2)
        return out


class SpeechVelocity(nn.Module):
    """x_t (B,mels,T), the condition (B,2·mels,T) and t (B,) → velocity (B,mels,T). Without a
    condition its values are 0."""

    def __init__(self, config: SpeechFlowConfig) -> None:
        super().__init__()
        self.mels, channels = config.mels, config.channels
        self.inputs = 4 * config.mels  # the fourth part is a prompt's spectrogram: none is given
        self.time_first = nn.Linear(self.inputs, 4 * channels[0])
        self.time_second = nn.Linear(4 * channels[0], 4 * channels[0])
        entering = [self.inputs, *channels]
        self.down = nn.ModuleList(
            Stage(before, width, config) for before, width in zip(entering, channels, strict=False)
        )
        self.narrow = nn.ModuleList(
            nn.Conv1d(width, width, 3, stride=1 if last else 2, padding=1)
            for last, width in self._ends(channels)
        )
        deepest = channels[-1]
        self.middle = nn.ModuleList(
            Stage(deepest, deepest, config) for _ in range(config.middle_units)
        )
        rising = [*reversed(channels), channels[0]]
        self.up = nn.ModuleList(
            Stage(2 * before, width, config) for before, width in itertools.pairwise(rising)
        )
        self.widen = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=1)
            if last
            else nn.ConvTranspose1d(width, width, 4, stride=2, padding=1)
            for last, width in self._ends(tuple(rising[1:]))
        )
        self.last = ConvBlock(channels[0], channels[0])
        self.out = nn.Conv1d(channels[0], config.mels, 1)

    @staticmethod
    def _ends(widths: tuple[int, ...]) -> list[tuple[bool, int]]:
        return [(index == len(widths) - 1, width) for index, width in enumerate(widths)]

    def forward(self, x_t: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        embedded = sinusoids_of(TIME_SCALE * time, self.inputs)
        embedded = self.time_second(F.silu(self.time_first(embedded)))
        x = torch.cat((x_t, condition, torch.zeros_like(x_t)), dim=1)
        kept: list[Tensor] = []
        for stage, resize in zip(self.down, self.narrow, strict=True):
            x = stage(x, embedded)
            kept.append(x)
            x = resize(x)
        for stage in self.middle.children():
            x = stage(x, embedded)
        for stage, resize in zip(self.up, self.widen, strict=True):
            beside = kept.pop()
            x = stage(torch.cat((x[:, :, : beside.shape[2]], beside), dim=1), embedded)
            x = resize(x)
        out: Tensor = self.out(self.last(x))
        return out
