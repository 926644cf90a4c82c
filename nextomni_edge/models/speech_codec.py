"""Higgs Audio v2's tokenizer (boson-ai): samples to the codes of residual quantisers, and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextomni_edge.config import SpeechCodecConfig
from nextomni_edge.models.acoustic import AcousticDecoder, AcousticEncoder
from nextomni_edge.models.semantic import SemanticEncoder
from nextomni_edge.tokens.resample import reduced, taps


class CodeTable(nn.Module):
    """`entries` rows of one quantiser, in a narrower space."""

    def __init__(self, config: SpeechCodecConfig, width: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.randn(config.entries, config.code_dim))
        self.outward = nn.Linear(config.code_dim, width)

    def nearest(self, x: Tensor) -> Tensor:
        """(B,L,code_dim) → (B,L) int64, by ‖x‖² − 2x·e + ‖e‖² in that order, as ties are
        rounded."""
        table = self.entries.t()
        size = x.square().sum(dim=2, keepdim=True)
        distance = size - 2.0 * (x @ table) + table.square().sum(dim=0, keepdim=True)
        return (-distance).argmax(dim=2)

    def decode(self, codes: Tensor) -> Tensor:
        """(B,L) → (B,L,width)."""
        rows: Tensor = self.outward(F.embedding(codes, self.entries))
        return rows


class Resampler(nn.Module):
    """Resampling of (B,S) float32 as tokens/resample.py's, of a whole number of its steps. The taps
    are computed in the forward: a graph traced on the meta device has no values to carry."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.source, self.target, self.width = reduced(source, target)

    def forward(self, samples: Tensor) -> Tensor:
        if self.source == self.target:
            return samples
        kernel = taps(torch, self.source, self.target, device=samples.device)
        padded = F.pad(samples[:, None], (self.width, self.width))
        found = F.conv1d(padded, kernel[:, None], stride=self.source)
        return found.transpose(1, 2).flatten(1)


class CodecEncoder(nn.Module):
    """Samples (B,length,token) → codes (B,length,K)."""

    def __init__(self, config: SpeechCodecConfig, codebooks: int, rate: int) -> None:
        super().__init__()
        width = config.width + config.semantic.width
        self.resampler = Resampler(rate, config.semantic.rate)
        self.semantic = SemanticEncoder(config.semantic)
        self.acoustic = AcousticEncoder(config.encoder_width, config.down, config.width)
        self.merge = nn.Linear(width, width)
        self.inward = nn.ModuleList(nn.Linear(width, config.code_dim) for _ in range(codebooks))
        self.tables = nn.ModuleList(CodeTable(config, width) for _ in range(codebooks))

    def forward(self, waveform: Tensor) -> Tensor:
        samples = waveform.flatten(1)
        latents = torch.cat(
            (self.acoustic(samples[:, None]), self.semantic(self.resampler(samples))), dim=1
        )
        rest, codes = self.merge(latents.transpose(1, 2)), []
        for inward, table in zip(self.inward.children(), self.tables.children(), strict=True):
            assert isinstance(table, CodeTable)
            found = table.nearest(inward(rest))
            rest = rest - table.decode(found)
            codes.append(found)
        return torch.stack(codes, dim=2)


class CodecDecoder(nn.Module):
    """Codes (B,length,K) → samples (B,length,token). The tables are the encoder's."""

    def __init__(self, config: SpeechCodecConfig, tables: nn.ModuleList) -> None:
        super().__init__()
        self.token = config.token
        self.tables = tables
        self.narrow = nn.Linear(config.width + config.semantic.width, config.width)
        self.acoustic = AcousticDecoder(config.width, config.decoder_width, config.up)

    def forward(self, codes: Tensor) -> Tensor:
        latents = torch.zeros((), device=codes.device)
        for index, table in enumerate(self.tables.children()):
            assert isinstance(table, CodeTable)
            latents = latents + table.decode(codes[:, :, index])
        samples = self.acoustic(self.narrow(latents).transpose(1, 2))
        cut: Tensor = samples[:, 0].unflatten(1, (-1, self.token))
        return cut
