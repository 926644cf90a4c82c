"""The loss of a model's own vocoder: spectra of several sizes, and the pitch that it sings at."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nextomni_edge.models.vocoder import HiFT

SPECTRA: Final = (256, 512, 1024)  # sizes of the Fourier transforms; they hop by a quarter
LOWEST, HIGHEST = 60.0, 500.0  # Hz, of the pitch that is looked for
PERIODIC: Final = 0.5  # autocorrelation of a voiced frame
HIGH: Final = 0.9  # of the highest peak: a peak that may be the period
QUIET: Final = 1e-3  # root mean square of a frame without a pitch


def vocoder_loss(
    vocoder: HiFT, log_mel: Tensor, waveform: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Log-mel (B,N,F,mels) and the waveform (B,S) that it was made of, S ≥ N·F·hop. Spectral
    convergence and the difference of log-magnitudes (arXiv 1910.11480), and the pitch's error in
    hundreds of Hz."""
    made = vocoder(log_mel).flatten(1)
    heard = waveform[:, : made.shape[1]]
    spectra = sum((spectral_loss(made, heard, size) for size in SPECTRA), torch.zeros(()))
    hop = vocoder.config.frame
    pitch = vocoder.pitch(log_mel.flatten(1, 2).transpose(1, 2))
    error = (pitch - pitch_of(heard, vocoder.rate, hop)).abs().mean() / 100.0
    loss = spectra / len(SPECTRA) + 0.1 * error
    return loss, {"spectra": float(spectra.detach()), "pitch": float(error.detach())}


def spectral_loss(made: Tensor, heard: Tensor, size: int) -> Tensor:
    """‖|H| − |M|‖/‖|H|‖ + mean |log|H| − log|M|| of waveforms (B,S)."""
    window = torch.hann_window(size, device=made.device)
    ours, theirs = (
        torch.stft(each, size, size // 4, window=window, return_complex=True).abs().clamp_min(1e-5)
        for each in (made, heard)
    )
    convergence: Tensor = (theirs - ours).norm() / theirs.norm().clamp_min(1e-5)
    difference: Tensor = (theirs.log() - ours.log()).abs().mean()
    total: Tensor = convergence + difference
    return total


def pitch_of(waveform: Tensor, rate: int, hop: int) -> Tensor:
    """The pitch (B,S/hop) in Hz of each frame of (B,S), 0 where there is none: the first of the
    high peaks of the normalised autocorrelation, as multiples of a period are peaks too."""
    longest, shortest = int(rate / LOWEST), int(rate / HIGHEST)
    span = 2 * longest
    padded = F.pad(waveform, (span // 2, span // 2 + longest))
    frames = padded.unfold(1, span + longest, hop)[:, : waveform.shape[1] // hop]
    here = frames[..., :span]
    lags = torch.stack(
        [frames[..., lag : lag + span] for lag in range(shortest, longest + 1)], dim=-2
    )
    energy = here.square().sum(-1, keepdim=True) * lags.square().sum(-1)
    likeness = (here[..., None, :] * lags).sum(-1) / energy.sqrt().clamp_min(1e-9)
    best = likeness.amax(-1, keepdim=True)
    peaks = (likeness == F.max_pool1d(likeness, 2 * shortest + 1, 1, shortest)) & (
        likeness > HIGH * best
    )
    voiced = (best[..., 0] > PERIODIC) & (here.square().mean(-1).sqrt() > QUIET)
    return torch.where(voiced, rate / (peaks.int().argmax(-1) + shortest), 0.0)
