"""A vocoder of a model's own: its pitch, its source, its loss, and the recipe that trains it."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import nextomni_edge as ne
from nextomni_edge.config import ModelConfig, VocoderConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.generate.speech import SpeechNoise, sines
from nextomni_edge.measure.weights import component_weights
from nextomni_edge.models.vocoder import HiFT
from nextomni_edge.train.vocoding import pitch_of, spectral_loss, vocoder_loss
from tests.cli.process import ended
from tests.sources import ROOT
from tests.tiny import tiny_config

RATE, HOP = 16_000, 160
VOCODER = VocoderConfig(
    width=16, pitch_width=16, rates=(8, 5), rate_kernels=(16, 11), kernels=(3,), dilations=(1,),
    source_kernels=(7, 11),
)  # fmt: skip


def with_vocoder() -> ModelConfig:
    config = tiny_config()
    return dataclasses.replace(config, audio=dataclasses.replace(config.audio, vocoder=VOCODER))


def sung(hertz: float, seconds: float = 0.32) -> torch.Tensor:
    """A tone with overtones, (1,samples)."""
    turns = torch.arange(int(seconds * RATE)) * (hertz / RATE)
    return sum((torch.sin(2 * torch.pi * turns * h) / h for h in (1, 2, 3)), torch.zeros(()))[
        None
    ] * 0.2  # fmt: skip


@pytest.mark.parametrize("hertz", [80.0, 123.4, 220.0, 400.0])
def test_the_pitch_of_a_tone_is_found_and_noise_has_none(hertz: float) -> None:
    found = pitch_of(sung(hertz), RATE, HOP)[0]
    assert found.shape == (32,)
    assert (found[4:-4] / hertz - 1).abs().max() < 0.03
    torch.manual_seed(0)
    assert (pitch_of(0.1 * torch.randn(1, 5120), RATE, HOP) == 0).float().mean() > 0.9
    assert (pitch_of(torch.zeros(1, 5120), RATE, HOP) == 0).all()


def test_the_source_is_that_of_the_orchestrator() -> None:
    """Against `generate.speech.sines`, whose phases start at 0 here, with the stored breath."""
    torch.manual_seed(0)
    vocoder = HiFT(with_vocoder().audio)
    pitch = np.concatenate([np.full(20, 0.0), np.linspace(90, 300, 80)]).astype(np.float32)
    breath = np.concatenate([vocoder.breath.numpy()] * 2)[: len(pitch)]
    flat = breath.reshape(-1, VOCODER.harmonics + 1).T
    noise = SpeechNoise(np.zeros(0, np.float32), np.zeros(VOCODER.harmonics + 1, np.float32), flat)
    expected = sines(pitch, noise, VOCODER, RATE)
    found = vocoder.sines(torch.from_numpy(pitch)[None])[0].detach().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_loss_is_zero_of_the_same_and_falls_in_training() -> None:
    tone = sung(200.0)
    assert float(spectral_loss(tone, tone, 512)) == 0.0
    assert float(spectral_loss(tone, sung(300.0), 512)) > 0.5
    torch.manual_seed(0)
    config = with_vocoder().audio
    vocoder = HiFT(config)
    from nextomni_edge.tokens.audio import log_mel

    mel = torch.from_numpy(log_mel(tone[0].numpy(), config))[None]
    optimiser = torch.optim.Adam(vocoder.parameters(), 2e-3)
    losses = []
    for _ in range(40):
        loss, metrics = vocoder_loss(vocoder, mel, tone)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0] and metrics["pitch"] >= 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rates": (8, 4), "rate_kernels": (16, 8)}, "makes 128 samples a frame, not audio.hop"),
        ({"rate_kernels": (16,)}, "vocoder must have a kernel and a source's kernel"),
        ({"kernels": ()}, "vocoder: rates, kernels and dilations must be short lists"),
    ],
)
def test_a_vocoder_that_does_not_fit_is_refused(change: dict[str, object], sentence: str) -> None:
    audio = dataclasses.replace(tiny_config().audio, vocoder=dataclasses.replace(VOCODER, **change))
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(tiny_config(), audio=audio)


def test_a_plan_needs_the_bundle() -> None:
    with pytest.raises(UsageError, match=r"a plan of a model with audio\.vocoder: export it"):
        component_weights(with_vocoder())


@pytest.mark.slow
def test_the_recipe_gives_a_model_a_vocoder_that_exports(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for hertz in (150, 210, 330):
        soundfile.write(sounds / f"{hertz}.wav", sung(hertz)[0].numpy(), RATE)
    code, _, errors = ended(
        "train", ROOT / "examples" / "vocoder", "--init", tiny_checkpoint, "--out",
        tmp_path / "run", "--sounds", sounds, "--steps", 3, "--width", 16,
    )  # fmt: skip
    assert code == 0, errors
    model = tmp_path / "run" / "model"
    vocoder = json.loads((model / "config.json").read_text())["audio"]["vocoder"]
    assert vocoder["rates"] == [8, 5] and vocoder["width"] == 16
    export_bundle(model, tmp_path / "bundle")
    ours, theirs = (
        ne.load(path).generate("say it", to="audio", seed=1, steps=4)
        for path in (tmp_path / "bundle", model)
    )
    np.testing.assert_array_equal(ours.tokens, theirs.tokens)
    assert ours.audio[0].shape == theirs.audio[0].shape
    np.testing.assert_allclose(ours.audio[0], theirs.audio[0], atol=1e-4)


def test_the_recipe_finds_rates_for_a_hop() -> None:
    sys.path.insert(0, str(ROOT / "examples" / "vocoder"))
    try:
        import train
    finally:
        sys.path.pop(0)
    for hop in (160, 256, 300, 320, 480):
        made = train.vocoder_config(hop, 32)
        assert made.frame == hop
        audio = dataclasses.replace(tiny_config().audio, hop=hop, vocoder=made)
        vocoder = HiFT(audio)
        mel = torch.zeros(1, 3, audio.frames_per_token, audio.mels)
        assert vocoder(mel).shape == (1, 3, audio.frames_per_token * hop)
    with pytest.raises(InputError, match=r"audio\.hop is 150, expected a multiple of 4"):
        train.vocoder_config(150, 32)
    del sys.modules["train"]
