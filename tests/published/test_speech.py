"""Omni-Diffusion's ears and voice, array by array: SenseVoice, GLM-4-Voice's tokenizer, and its
decoder with a vocoder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextomni_edge.config import SpeechConfig
from nextomni_edge.errors import InputError
from nextomni_edge.generate.speech import (
    Speaker,
    SpeechNoise,
    code_places,
    euler_times,
    mel_frames,
    sines,
)
from nextomni_edge.tokens import audio, fbank
from tests.published.goldens import Array, arrays, close
from tests.published.models import omnidiffusion_model as model
from tests.published.models import omnidiffusion_network as network
from tests.published.omnidiffusion_runs import heard, noise_of
from tests.published.runs import of_run

CLIPS, HEARD, SPOKEN = ("S1", "S2", "S3", "S4"), ("A", "B", "C"), ("0", "1")
FBANK, FEATURES, SOUND = 2e-3, 1e-3, 1e-3  # allowed of each, golden/README.md of the set


def speech() -> SpeechConfig:
    found = model().config.audio.speech
    assert found is not None
    return found


def pieces(name: str) -> list[tuple[Array, Array]]:
    return audio.tokenizer_pieces(heard("st", name), model().config.audio, speech())


@pytest.mark.parametrize("name", CLIPS)
def test_the_log_mel_of_a_sound(name: str) -> None:
    """And which frames of it are sound: a piece of 30 s at most ends in silence."""
    golden = arrays("omnidiffusion")
    found = pieces(name)
    masks = golden[f"st.{name}.feature_mask"]
    assert len(found) == len(masks)
    for (mel, mask), recorded in zip(found, masks, strict=True):
        frames = recorded[: mask.size * 2]
        np.testing.assert_array_equal(mask.ravel(), frames[::2] == 1)
        assert not recorded[mask.size * 2 :].any()
        if f"st.{name}.features" in golden:
            close(mel.reshape(-1, mel.shape[2]).T, golden[f"st.{name}.features"][0], FEATURES)


@torch.inference_mode()
@pytest.mark.parametrize("name", CLIPS)
def test_the_codes_of_a_sound(name: str) -> None:
    golden = arrays("omnidiffusion")
    found = model().quantise_audio(heard("st", name))
    np.testing.assert_array_equal(found[:, 0], golden[f"st.{name}.codes"])
    if f"st.{name}.prequant" in golden:
        ((mel, mask),) = pieces(name)
        latents = network().audio_quantiser.latents(
            torch.from_numpy(mel)[None], torch.from_numpy(mask)[None]
        )
        close(latents.numpy(), golden[f"st.{name}.prequant"], 1e-4)


def test_sounds_of_a_batch_have_their_own_codes() -> None:
    golden = arrays("omnidiffusion")
    own = [golden[f"st.{name}.codes"] for name in ("S1", "S4", "S2")]
    np.testing.assert_array_equal(golden["st.batch_S1_S4_S2.codes"], np.concatenate(own))
    np.testing.assert_array_equal(golden["st.batch_S1_S4_S2.lengths"], [len(each) for each in own])


@pytest.mark.parametrize("name", HEARD)
def test_the_filter_bank_of_a_sound(name: str) -> None:
    """Without dither, and with the recorded one, which the authors' code draws in every call."""
    golden, listener = arrays("omnidiffusion"), speech().listener
    given = heard("sv", name)
    close(fbank.features(given, listener), golden[f"sv.{name}.fbank_nodither"], FBANK)
    if f"sv.{name}.dither_noise" in golden:
        dither = golden[f"sv.{name}.dither_noise"].astype(np.float64)
        close(fbank.features(given, listener, dither), golden[f"sv.{name}.fbank"], FBANK)


@torch.inference_mode()
@pytest.mark.parametrize("name", HEARD)
def test_what_is_heard(name: str) -> None:
    """Of rows rounded to bfloat16, as theirs are. A padded batch gives each its own rows."""
    golden, listener = arrays("omnidiffusion"), network().audio_encoder
    rows = fbank.bfloat16(golden[f"sv.{name}.fbank"])
    found = listener.heard(torch.from_numpy(rows)[None])[0].numpy()
    close(found, golden[f"sv.{name}.encoder"], 1e-4)
    close(model().encode("audio", rows), golden[f"sv.{name}.rows"], 1e-4)
    if name in "AC":
        place = "AC".index(name)
        length = int(golden["sv.batch_AC.lengths"][place])
        assert length == len(found)
        close(found, golden["sv.batch_AC.encoder"][place][:length], 1e-4)


def test_rounding_is_torchs() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -3.3e38, 1e-40, 0.1], np.float32)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(fbank.bfloat16(values), expected)
    rounded = dataclasses.replace(speech().listener, rounded=True)
    given = heard("sv", "A")
    np.testing.assert_array_equal(
        fbank.features(given, rounded), fbank.bfloat16(fbank.features(given, speech().listener))
    )


@torch.inference_mode()
@pytest.mark.parametrize("name", SPOKEN)
def test_a_spectrogram_follows_the_recorded_states(name: str) -> None:
    """The condition, the velocity of both branches, the state before each of ten steps, and the
    result."""
    golden, net = of_run("omnidiffusion", f"dec.{name}"), network()
    codes, frames = golden["codes"], golden["z"].shape[1]
    assert mel_frames(len(codes), model().config.audio, speech()) == frames
    given = torch.from_numpy(codes)[None]
    close(net.speech_condition.encoded(given)[0].numpy(), golden["encoder"], 1e-4)
    places = torch.from_numpy(code_places(len(codes), frames))[None]
    condition = net.speech_condition(given, places)
    close(condition[0, :80].numpy(), golden["mu"], 1e-4)
    close(condition[0, 80:].numpy(), np.repeat(golden["spk"][:, None], frames, axis=1), 1e-4)
    close(euler_times(speech().flow.steps)[:-1], golden["ode_t"], 1e-6)
    x_0, start = torch.from_numpy(golden["z"])[None], torch.zeros(1)
    for branch, key in ((condition, "v_cond_first"), (condition * 0, "v_uncond_first")):
        close(net.speech_velocity(x_0, branch, start)[0].numpy(), golden[key], 1e-4)
    states: list[Array] = []
    speaker = Watched(model().session, model().config.audio)
    speaker.states = states
    mel = speaker.spectrum(codes, noise_of(golden))
    close(np.stack(states), golden["ode_x"], SOUND)
    close(mel, golden["mel"], SOUND)


class Watched(Speaker):
    """Keeps the states that the velocity is asked at."""

    states: list[Array]

    def spectrum(self, codes: Array, noise: SpeechNoise) -> Array:
        inner = self.session

        class Network:
            def __init__(self, states: list[Array]) -> None:
                self.states, self.own = states, inner("speech_velocity")

            def run(self, given: dict[str, Array]) -> dict[str, Array]:
                self.states.append(given["x_t"][0])
                return self.own.run(given)

        network = Network(self.states)
        self.session = lambda name: network if name == "speech_velocity" else inner(name)  # type: ignore[assignment,return-value]
        try:
            return super().spectrum(codes, noise)
        finally:
            self.session = inner


@torch.inference_mode()
@pytest.mark.parametrize("name", SPOKEN)
def test_a_spectrogram_becomes_the_recorded_samples(name: str) -> None:
    """From the recorded spectrogram, and from the codes."""
    golden, config = of_run("omnidiffusion", f"dec.{name}"), model().config.audio
    mel = torch.from_numpy(golden["mel"])[None]
    close(network().speech_pitch(mel)[0].numpy(), golden["f0"], SOUND)
    source = sines(golden["f0"], noise_of(golden), speech().vocoder, config.sample_rate)
    close(source.reshape(-1, 9).T[:, ::16], golden["sine_waves"], 1e-4)
    speaker = Speaker(model().session, config)
    close(speaker.sound(golden["mel"], noise_of(golden)), golden["speech"], SOUND)
    close(speaker.waveform(golden["codes"], noise_of(golden)), golden["speech"], SOUND)


def test_the_same_codes_give_the_same_sound() -> None:
    codes = arrays("omnidiffusion")["dec.1.codes"][:, None]
    one, other = model().decode_audio(codes), model().decode_audio(codes)
    np.testing.assert_array_equal(one, other)
    assert np.abs(one).max() <= speech().vocoder.limit
    seconds = len(one) / model().config.audio.sample_rate
    assert seconds == pytest.approx(len(codes) / 12.5, abs=0.02)


@given(codes=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_every_frame_has_a_code_and_every_code_its_turn(codes: int, seed: int) -> None:
    """Places rise from the first code to the last, and repeat torch's nearest interpolation."""
    frames = mel_frames(codes, model().config.audio, speech())
    places = code_places(codes, frames)
    index = torch.arange(codes, dtype=torch.float32)[None, None]
    nearest = torch.nn.functional.interpolate(index, size=frames, mode="nearest")[0, 0]
    np.testing.assert_array_equal(places, nearest.numpy())
    drawn = SpeechNoise.drawn(speech(), frames, seed)
    assert drawn.x_0.shape == (80, frames)
    assert drawn.phase[0] == 0.0
    assert np.abs(drawn.phase).max() <= np.pi
    assert np.isfinite(drawn.breath).all()


@given(st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_stacked_rows_cover_every_frame(count: int) -> None:
    """Each row begins `every` frames behind the one before, the first three frames in front."""
    listener = speech().listener
    rows = np.arange(count, dtype=np.float64)[:, None]
    small = dataclasses.replace(listener, mels=1)
    found = fbank.stacked(rows, small)
    assert found.shape == (-(-count // listener.every), listener.stack)
    middle = np.minimum(np.arange(len(found)) * listener.every, count - 1)
    np.testing.assert_array_equal(found[:, (listener.stack - 1) // 2], middle)
    assert found[-1, -1] == min(count - 1, (len(found) - 1) * listener.every + 3)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros(399, np.float32), "expected one channel of at least 400 finite samples"),
        (np.zeros(0, np.float32), "expected one channel with at least one sample"),
        (np.full(800, np.nan, np.float32), "not finite"),
        (np.zeros(121 * 16_000, np.float32), "121.00 s is longer than the model's 120.00 s"),
    ],
)
def test_a_sound_that_cannot_be_heard_is_one_sentence(samples: Array, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        audio.heard(samples, model().config.audio)
