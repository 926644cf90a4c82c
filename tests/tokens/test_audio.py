"""Whisper's log-mel: the `transformers` feature extractor is the oracle."""

import dataclasses

import numpy as np
import pytest

from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import InputError
from nextomni_edge.tokens.audio import log_mel


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("level", [1e-4, 0.1, 1.0])
def test_log_mel_is_whispers(mels: int, level: float) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is Whisper's own")
    config = AudioConfig(mels=mels)
    rng = np.random.default_rng(3)
    waveform = (level * rng.normal(size=1280 * 9) * np.linspace(0, 1, 1280 * 9)).astype(np.float32)
    oracle = transformers.WhisperFeatureExtractor(feature_size=mels)
    expected = oracle(
        waveform, sampling_rate=16000, return_tensors="np", padding="do_not_pad"
    ).input_features[0]
    found = log_mel(waveform, config)
    assert found.shape == (9, 8, mels) and found.dtype == np.float32
    np.testing.assert_allclose(found.reshape(-1, mels).T, expected[:, :72], atol=2e-5)


def test_a_clip_is_padded_to_whole_tokens() -> None:
    config = AudioConfig()
    waveform = np.random.default_rng(0).normal(size=1281).astype(np.float32)
    padded = np.pad(waveform, (0, 1279))
    np.testing.assert_array_equal(log_mel(waveform, config), log_mel(padded, config))


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (
            np.zeros((2, 100), np.float32),
            r"audio: found a waveform of shape \(2, 100\), expected one channel",
        ),
        (np.zeros(0, np.float32), r"audio: found a waveform of shape \(0,\), expected one channel"),
        (np.full(2000, np.nan, np.float32), "audio: the waveform has values that are not finite"),
        (
            np.zeros(40000, np.float32),
            r"audio: 2.50 s is longer than the model's 1.04 s; cut it first",
        ),
    ],
)
def test_a_bad_waveform_is_one_clear_line(waveform: np.ndarray, message: str) -> None:
    config = dataclasses.replace(AudioConfig(), max_seconds=1.0)
    with pytest.raises(InputError, match=message):
        log_mel(waveform, config)
