"""Audio encoder (Whisper's, then MCQ) and decoder (transformer to log-mel, then a vocoder inside
the graph: Griffin-Lim's phases, or HiFT)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import AudioConfig
from nextomni_edge.models.codebook import Codebook
from nextomni_edge.models.transformer import Transformer, sinusoids
from nextomni_edge.models.vocoder import HiFT
from nextomni_edge.tokens.audio import mel_filters


class AudioEncoder(nn.Module):
    """Log-mel (B,N,frames_per_token,mels) → sub-codes (B,N,K) int64. The second convolution halves
    the rate, as Whisper's."""

    def __init__(self, config: AudioConfig, codebook: Codebook) -> None:
        super().__init__()
        width = config.encoder.width
        self.codebook = codebook
        self.conv1 = nn.Conv1d(config.mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.transformer = Transformer(config.encoder)
        self.latent = nn.Linear(width * (config.frames_per_token // 2), config.codebook.latent_dim)

    def features(self, log_mel: Tensor) -> Tensor:
        """The output of Whisper's encoder, (B,N·frames_per_token/2,width)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(log_mel.flatten(1, 2).transpose(1, 2))))).transpose(
            1, 2
        )
        out: Tensor = self.transformer(x + sinusoids(x.shape[1], x.shape[2], x.device))
        return out

    def latents(self, log_mel: Tensor) -> Tensor:
        """The continuous latents before quantisation, (B,N,K·D)."""
        length, x = log_mel.shape[1], self.features(log_mel)
        out: Tensor = self.latent(x.reshape(x.shape[0], length, -1))
        return out

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.codebook.encode(self.latents(log_mel))


class AudioDecoder(nn.Module):
    """Sub-codes (B,N,K) int64 → waveform (B,N,frames_per_token·hop) in [-1,1]."""

    channels = 128

    def __init__(self, config: AudioConfig, codebook: Codebook) -> None:
        super().__init__()
        self.config, self.codebook = config, codebook
        width = config.decoder.width
        self.project = nn.Linear(config.codebook.latent_dim, width)
        self.transformer = Transformer(config.decoder)
        self.expand = nn.Linear(width, config.frames_per_token * self.channels)
        self.refine = nn.Sequential(
            nn.GELU(), nn.Conv1d(self.channels, self.channels, 5, padding=2),
            nn.GELU(), nn.Conv1d(self.channels, config.mels, 5, padding=2),
        )  # fmt: skip
        self.vocoder = GriffinLim(config) if config.vocoder is None else HiFT(config)

    def log_mel(self, latents: Tensor) -> Tensor:
        """Codebook vectors (B,N,K·D) → log-mel (B,N,frames_per_token,mels)."""
        batch, length, _ = latents.shape
        x = self.project(latents)
        x = self.expand(self.transformer(x + sinusoids(length, x.shape[2], x.device)))
        x = x.reshape(batch, length * self.config.frames_per_token, self.channels).transpose(1, 2)
        refined: Tensor = self.refine(x)
        unflattened: Tensor = refined.transpose(1, 2).unflatten(
            1, (length, self.config.frames_per_token)
        )
        return unflattened

    def forward(self, codes: Tensor) -> Tensor:
        waveform: Tensor = self.vocoder(self.log_mel(self.codebook.decode(codes)))
        return waveform


class GriffinLim(nn.Module):
    """Whisper log-mel (B,N,F,mels) → waveform (B,N,F·hop): phases by alternating projections
    (Griffin and Lim, 1984).

    The Fourier transforms are convolutions with a cosine and sine basis, so that any runtime with
    Conv can run them.
    """

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        filters = torch.tensor(mel_filters(config.sample_rate, config.n_fft, config.mels))
        self.mel_inverse = nn.Buffer(
            filters.T if filters.is_meta else torch.linalg.pinv(filters.double(), rtol=1e-2).float()
        )

    def bases(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Windowed analysis and synthesis bases, each (2·bins, 1, n_fft)."""
        n_fft = self.config.n_fft
        bins = n_fft // 2 + 1
        time = torch.arange(n_fft, device=device, dtype=torch.float32)
        frequency = torch.arange(bins, device=device, dtype=torch.float32)
        angles = (frequency[:, None] * time).remainder(n_fft) * (2 * math.pi / n_fft)
        window = 0.5 - 0.5 * torch.cos(time * (2 * math.pi / n_fft))
        analysis = torch.cat((angles.cos(), -angles.sin())) * window
        ends = torch.logical_or(frequency == 0, frequency == bins - 1).float()
        weight = (2.0 - ends) / n_fft  # each inner bin stands for its conjugate too
        return analysis[:, None], (analysis * torch.cat((weight, weight))[:, None])[:, None]

    def magnitude(self, log_mel: Tensor) -> Tensor:
        """Log-mel (B,frames,mels) → spectrogram magnitude (B,bins,frames)."""
        power = torch.pow(10.0, log_mel.clamp(-1.5, 1.5) * 4.0 - 4.0)
        return (power @ self.mel_inverse.T).clamp_min(0.0).sqrt().transpose(1, 2)

    def forward(self, log_mel: Tensor) -> Tensor:
        batch, length, frames, _ = log_mel.shape
        magnitude = self.magnitude(log_mel.flatten(1, 2))
        analysis, synthesis = self.bases(log_mel.device)
        hop, half = self.config.hop, self.config.n_fft // 2
        samples = length * frames * hop
        squares = analysis[:1].square()  # the cosine of bin 0 is the window itself
        overlap = F.conv_transpose1d(
            torch.ones_like(magnitude[:1, :1]), squares, stride=hop
        ).clamp_min(1e-3)

        def inverse(spectrum: Tensor) -> Tensor:
            return (F.conv_transpose1d(spectrum, synthesis, stride=hop) / overlap)[
                :, :, half : half + samples
            ]

        def transform(waveform: Tensor) -> Tensor:
            return F.conv1d(F.pad(waveform, (half, half)), analysis, stride=hop)[
                :, :, : length * frames
            ]

        both = torch.cat((magnitude, magnitude), dim=1)
        spectrum = both * self.first_phases(magnitude)
        for _ in range(self.config.vocoder_iterations):
            guess = transform(inverse(spectrum))
            real, imaginary = guess.chunk(2, dim=1)
            # a tenth of the wanted magnitude under the root: an almost silent bin has no
            # phase worth amplifying
            size = (real.square() + imaginary.square() + 0.01 * magnitude.square() + 1e-8).sqrt()
            spectrum = both * guess / torch.cat((size, size), dim=1)
        return inverse(spectrum).clamp(-1.0, 1.0).reshape(batch, length, frames * hop)

    def first_phases(self, magnitude: Tensor) -> Tensor:
        """cos and sin of the starting phases: each bin turns at its centre frequency, bins
        scattered by the golden ratio."""
        _, bins, frames = magnitude.shape
        frequency = torch.arange(bins, device=magnitude.device, dtype=torch.float32)
        frame = torch.arange(frames, device=magnitude.device, dtype=torch.float32)
        turns = (frequency[:, None] * (self.config.hop / self.config.n_fft)).frac() * frame + (
            frequency[:, None] * 0.6180339887
        ).frac()
        angles = turns.frac() * (2 * math.pi)
        return torch.cat((angles.cos(), angles.sin()))
