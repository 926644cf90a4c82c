"""DAC's convolutions (Kumar et al., arXiv 2306.06546): samples to latents and back."""

from __future__ import annotations

from torch import Tensor, nn

from nextomni_edge.models.vocoder import Snake

DILATIONS = (1, 3, 9)


def _same(width: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """A convolution that keeps width and length."""
    return nn.Conv1d(width, width, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)


class ResidualUnit(nn.Module):
    """A dilated convolution of seven and one of one, each behind Snake, with a residual."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first_act, self.second_act = Snake(width), Snake(width)
        self.first, self.second = _same(width, 7, dilation), _same(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.second_act(self.first(self.first_act(x))))
        return out


class Down(nn.Module):
    """Three residual units, then twice the width at a `stride`-th of the length."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(ResidualUnit(width, each) for each in DILATIONS)
        self.act = Snake(width)
        self.conv = nn.Conv1d(width, 2 * width, 2 * stride, stride, padding=-(-stride // 2))

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units.children():
            x = unit(x)
        out: Tensor = self.conv(self.act(x))
        return out


class Up(nn.Module):
    """Half the width at `stride` times the length, then three residual units."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.act = Snake(width)
        self.conv = nn.ConvTranspose1d(
            width, width // 2, 2 * stride, stride, padding=-(-stride // 2),
            output_padding=stride % 2,
        )  # fmt: skip
        self.units = nn.ModuleList(ResidualUnit(width // 2, each) for each in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.act(x))
        for unit in self.units.children():
            x = unit(x)
        return x


class AcousticEncoder(nn.Module):
    """Samples (B,1,S) → latents (B,width,S / Π strides)."""

    def __init__(self, first: int, strides: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, first, 7, padding=3)
        self.blocks = nn.ModuleList(
            Down(first * 2**level, stride) for level, stride in enumerate(strides)
        )
        last = first * 2 ** len(strides)
        self.act, self.last = Snake(last), nn.Conv1d(last, width, 3, padding=1)

    def forward(self, samples: Tensor) -> Tensor:
        x = self.first(samples)
        for block in self.blocks.children():
            x = block(x)
        out: Tensor = self.last(self.act(x))
        return out


class AcousticDecoder(nn.Module):
    """Latents (B,width,L) → samples (B,1,L·Π strides), without a bound."""

    def __init__(self, width: int, first: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, first, 7, padding=3)
        self.blocks = nn.ModuleList(
            Up(first // 2**level, stride) for level, stride in enumerate(strides)
        )
        last = first // 2 ** len(strides)
        self.act, self.last = Snake(last), nn.Conv1d(last, 1, 7, padding=3)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.first(latents)
        for block in self.blocks.children():
            x = block(x)
        out: Tensor = self.last(self.act(x))
        return out
