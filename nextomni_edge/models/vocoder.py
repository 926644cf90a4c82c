"""HiFT, a vocoder that filters sines of the pitch (Li et al., arXiv 2309.09493): a mel spectrogram
to samples."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import AudioConfig, VocoderConfig


class Pitch(nn.Module):
    """Mel spectrogram (B,mels,T) → the pitch of each frame in Hz, (B,T)."""

    def __init__(self, config: VocoderConfig, mels: int) -> None:
        super().__init__()
        widths = [mels, *[config.pitch_width] * 5]
        self.convs = nn.ModuleList(
            nn.Conv1d(before, width, 3, padding=1) for before, width in itertools.pairwise(widths)
        )
        self.out = nn.Linear(config.pitch_width, 1)

    def forward(self, mel: Tensor) -> Tensor:
        for conv in self.convs.children():
            mel = F.elu(conv(mel))
        out: Tensor = self.out(mel.transpose(1, 2))[..., 0].abs()
        return out


class Snake(nn.Module):
    """x + sin²(αx)/α, with an α of each channel (arXiv 2006.08195)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        return x + (alpha * x).sin().square() / (alpha + 1e-9)


class ResidualStack(nn.Module):
    """Pairs of convolutions behind Snake, the first of each pair dilated, with residuals."""

    def __init__(self, width: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.ModuleList(
            nn.Conv1d(width, width, kernel, dilation=each, padding=each * (kernel - 1) // 2)
            for each in dilations
        )
        self.second = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=(kernel - 1) // 2) for _ in dilations
        )
        self.first_act = nn.ModuleList(Snake(width) for _ in dilations)
        self.second_act = nn.ModuleList(Snake(width) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.first_act, self.first, self.second_act, self.second, strict=True)
        for first_act, first, second_act, second in parts:
            x = x + second(second_act(first(first_act(x))))
        return x


def waves(n_fft: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (n_fft/2+1,n_fft) of the discrete Fourier transform, under a periodic Hann
    window; computed in the forward, as a graph traced on the meta device has no values."""
    n = torch.arange(n_fft, device=device, dtype=torch.float32)
    k = torch.arange(n_fft // 2 + 1, device=device, dtype=torch.float32)
    angles = (2.0 * math.pi / n_fft) * (k[:, None] * n)
    window = 0.5 - 0.5 * torch.cos(2.0 * math.pi / n_fft * n)
    return angles.cos() * window, angles.sin() * window


def spectrum(samples: Tensor, n_fft: int, hop: int) -> Tensor:
    """Samples (B,S) → real, then imaginary parts (B,n_fft+2,S/hop+1), with reflected borders."""
    cosine, sine = waves(n_fft, samples.device)
    half = n_fft // 2
    padded = F.pad(samples[:, None], (half, half), mode="reflect")
    return F.conv1d(padded, torch.cat((cosine, -sine))[:, None], stride=hop)


def resynthesis(size: Tensor, phase: Tensor, n_fft: int, hop: int) -> Tensor:
    """Sizes and phases (B,n_fft/2+1,F) → samples (B,(F−1)·hop): frames are added under the Hann
    window, and divided by what the windows add up to."""
    cosine, sine = waves(n_fft, size.device)
    ends = torch.arange(n_fft // 2 + 1, device=size.device)
    # all but the first and the last frequency stand for two
    share = torch.where((ends == 0) | (ends == n_fft // 2), 1.0, 2.0)[:, None] / n_fft
    basis = torch.cat((cosine * share, -sine * share))[:, None]
    parts = torch.cat((size * phase.cos(), size * phase.sin()), dim=1)
    added = F.conv_transpose1d(parts, basis, stride=hop)
    squares = (cosine[0].square())[None, None]
    ones = torch.ones_like(size[:, :1])
    weight = F.conv_transpose1d(ones, squares, stride=hop)
    half = n_fft // 2
    found = (added / weight.clamp_min(1e-11))[:, 0]
    return found[:, half : found.shape[1] - half]


class Vocoder(nn.Module):
    """Mel spectrogram (B,mels,T) and the source's sines (B,T,frame,harmonics+1) → waveform
    (B,T,frame) in [-1,1]."""

    def __init__(self, config: VocoderConfig, mels: int) -> None:
        super().__init__()
        self.config = config
        widths = [config.width // 2**level for level in range(len(config.rates) + 1)]
        channels, stages = config.n_fft + 2, list(itertools.pairwise(widths))
        self.merge = nn.Linear(config.harmonics + 1, 1)
        self.first = nn.Conv1d(mels, config.width, 7, padding=3)
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(before, width, kernel, stride=rate, padding=(kernel - rate) // 2)
            for (before, width), rate, kernel in zip(
                stages, config.rates, config.rate_kernels, strict=True
            )
        )
        coarser = [math.prod(config.rates[level + 1 :]) for level in range(len(config.rates))]
        self.source = nn.ModuleList(
            nn.Conv1d(channels, width, 1)
            if rate == 1
            else nn.Conv1d(channels, width, 2 * rate, stride=rate, padding=rate // 2)
            for width, rate in zip(widths[1:], coarser, strict=True)
        )
        self.source_stacks = nn.ModuleList(
            ResidualStack(width, kernel, config.dilations)
            for width, kernel in zip(widths[1:], config.source_kernels, strict=True)
        )
        self.stacks = nn.ModuleList(
            ResidualStack(width, kernel, config.dilations)
            for width in widths[1:]
            for kernel in config.kernels
        )
        self.last = nn.Conv1d(widths[-1], channels, 7, padding=3)

    def forward(self, mel: Tensor, sines: Tensor) -> Tensor:
        config, kernels = self.config, len(self.config.kernels)
        merged = torch.tanh(self.merge(sines)).flatten(1)
        source, x = spectrum(merged, config.n_fft, config.hop), self.first(mel)
        stacks, levels = list(self.stacks.children()), len(config.rates)
        parts = zip(self.up, self.source, self.source_stacks, strict=True)
        for level, (widen, narrow, stack) in enumerate(parts):
            x = widen(F.leaky_relu(x, config.slope))
            if level == levels - 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + stack(narrow(source))
            own = stacks[level * kernels : (level + 1) * kernels]
            x = torch.stack([each(x) for each in own]).mean(dim=0)
        size, phase = self.last(F.leaky_relu(x)).chunk(2, dim=1)
        samples = resynthesis(size.exp().clamp_max(100.0), phase.sin(), config.n_fft, config.hop)
        limited = samples.clamp(-config.limit, config.limit)
        out: Tensor = limited.unflatten(1, (-1, config.frame))
        return out


class HiFT(nn.Module):
    """HiFT inside one graph, for models of our own: log-mel (B,N,F,mels) → waveform (B,N,F·hop) in
    [-1,1].

    Its source is `generate.speech.sines`, but for two things that a graph must not do: phases begin
    at 0, and the breath is stored noise of BREATHS frames, repeated.
    """

    BREATHS = 64

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        if config.vocoder is None:
            raise ValueError("a config without audio.vocoder has no HiFT")
        self.config, self.rate = config.vocoder, config.sample_rate
        self.pitch = Pitch(config.vocoder, config.mels)
        self.filter = Vocoder(config.vocoder, config.mels)
        shape = (self.BREATHS, config.vocoder.frame, config.vocoder.harmonics + 1)
        self.breath = nn.Buffer(torch.randn(shape))

    def forward(self, log_mel: Tensor) -> Tensor:
        mel = log_mel.flatten(1, 2).transpose(1, 2)
        waveform: Tensor = self.filter(mel, self.sines(self.pitch(mel)))
        return waveform.reshape(*log_mel.shape[:2], -1)

    def sines(self, pitch: Tensor) -> Tensor:
        """The source (B,T,frame,harmonics+1) of a pitch (B,T) in Hz."""
        config, device = self.config, pitch.device
        frames = torch.arange(pitch.shape[1], device=device)
        # turns of the pitch before each frame; whole ones are dropped, as float32 has few digits
        each = (pitch * (config.frame / self.rate)).frac()
        before = (frames[:, None] + 1 <= frames).to(each.dtype)
        started = (each @ before).frac()
        within = torch.arange(1, config.frame + 1, device=device) / self.rate
        turns = started[..., None] + pitch[..., None] * within
        order = torch.arange(1, config.harmonics + 2, device=device)
        angles = (turns[..., None] * order).frac() * (2.0 * math.pi)
        voiced = (pitch > config.voiced).to(each.dtype)[..., None, None]
        breath = self.breath.index_select(0, frames.remainder(self.BREATHS))
        size = voiced * config.noise_size + (1.0 - voiced) * (config.sine_size / 3.0)
        return config.sine_size * angles.sin() * voiced + size * breath
