"""A vocoder for a model of your own, in place of Griffin-Lim:

    nextomni-edge train examples/vocoder --init MODEL --sounds FOLDER --out runs/vocoder

MODEL is a model directory with sound. FOLDER holds recordings (WAV, FLAC, OGG or MP3) of at least
one token each. HiFT learns to make their samples from their log-mel; the rest of the model stays as
it is. The model with its vocoder is --out/model.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

import click
import numpy as np
import torch

from nextomni_edge.config import AudioConfig, VocoderConfig
from nextomni_edge.errors import InputError
from nextomni_edge.media.audio import AUDIO_FORMATS, read_audio
from nextomni_edge.models import native
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.models.vocoder import HiFT
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.train.vocoding import vocoder_loss

BATCH, RATE = 8, 2e-4
LEAST_RATE = 0.05  # of the learning rate, at the end


def vocoder_config(hop: int, width: int) -> VocoderConfig:
    """Two levels whose rates multiply, with an inverse transform that hops by 4, to a hop."""
    if hop % 4:
        raise InputError(f"audio.hop is {hop}, expected a multiple of 4")
    frames = hop // 4
    second = next(rate for rate in range(math.isqrt(frames), 0, -1) if frames % rate == 0)
    rates = (frames // second, second)
    kernels = tuple(rate + 2 * ((rate + 1) // 2) for rate in rates)
    return VocoderConfig(width=width, pitch_width=width, rates=rates, rate_kernels=kernels)


def with_vocoder(model: OmniModel, width: int) -> OmniModel:
    """The model with an untrained vocoder in place of its own."""
    vocoder = vocoder_config(model.config.audio.hop, width)
    audio = dataclasses.replace(model.config.audio, vocoder=vocoder)
    made = OmniModel(dataclasses.replace(model.config, audio=audio))
    kept = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("audio_decoder.vocoder.")
    }
    made.load_state_dict(kept, strict=False)
    return made


def clips(folder: Path, config: AudioConfig) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Every sound of a folder, in whole tokens."""
    token, found = config.hop * config.frames_per_token, []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO_FORMATS:
            sound = read_audio(path, config, True)
            if len(sound) >= token:
                found.append(sound[: len(sound) // token * token])
    if not found:
        raise InputError(f"{folder}: no sound of at least {token} samples in it")
    return found


def batch(
    sounds: list[np.ndarray[tuple[int], np.dtype[np.float32]]],
    config: AudioConfig,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel and samples of BATCH sounds, cut to the shortest of them at a random token."""
    token = config.hop * config.frames_per_token
    chosen = [sounds[place] for place in rng.integers(0, len(sounds), BATCH)]
    length = min(map(len, chosen))
    starts = [token * int(rng.integers(0, (len(each) - length) // token + 1)) for each in chosen]
    cut = [each[start : start + length] for each, start in zip(chosen, starts, strict=True)]
    mels = np.stack([log_mel(each, config) for each in cut])
    return torch.from_numpy(mels), torch.from_numpy(np.stack(cut))


def train(vocoder: HiFT, config: AudioConfig, folder: Path, steps: int, minutes: float) -> int:
    """Steps that were taken."""
    sounds, rng = clips(folder, config), np.random.default_rng(0)
    optimiser = torch.optim.AdamW(vocoder.parameters(), RATE, betas=(0.8, 0.99))
    began = time.monotonic()
    for step in range(steps):
        share = max(LEAST_RATE, 1.0 - step / steps)
        for group in optimiser.param_groups:
            group["lr"] = RATE * share
        loss, metrics = vocoder_loss(vocoder, *batch(sounds, config, rng))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vocoder.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0:
            click.echo(f"step {step}: {metrics}", err=True)
        if time.monotonic() - began > 60 * minutes:
            return step + 1
    return steps


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the model.")
@click.option(
    "--init",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Model directory that gets the vocoder.",
)
@click.option(
    "--sounds",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of recordings.",
)
@click.option("--steps", default=20_000, show_default=True)
@click.option("--minutes", default=math.inf, help="Stop after this long.")
@click.option("--width", default=256, show_default=True, help="Channels of the vocoder.")
def main(out: Path, init: Path, sounds: Path, steps: int, minutes: float, width: int) -> None:
    """Train the vocoder and write the model directory --out/model."""
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    model = with_vocoder(native.load(init), width)
    vocoder = model.audio_decoder.vocoder
    assert isinstance(vocoder, HiFT)
    done = train(vocoder, model.config.audio, sounds, steps, minutes)
    click.echo(f"{done} steps", err=True)
    native.save(model.eval(), init / "tokenizer.json", out / "model")


if __name__ == "__main__":
    main()
