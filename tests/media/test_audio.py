"""Sounds: what is heard is what was recorded, whatever the file's rate, channels and container."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.media.audio import read_audio, write_audio
from nextomni_edge.tokens.audio import max_samples

CONFIG = AudioConfig(max_seconds=0.64)


def tone(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(
        np.float32
    )


def test_a_file_at_the_models_rate_is_read_exactly(tmp_path: Path) -> None:
    samples = tone(16000)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    heard = read_audio(tmp_path / "a.wav", CONFIG)
    assert heard.dtype == np.float32
    np.testing.assert_array_equal(heard, samples)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_time_and_tone(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype="FLOAT")
    heard, expected = read_audio(tmp_path / "a.wav", CONFIG), tone(16000)
    assert abs(len(heard) - len(expected)) <= 8
    assert np.abs(heard[500:7500] - expected[500:7500]).max() < 0.01


def test_tones_above_the_models_band_do_not_fold_back(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(48000, hertz=12000.0), 48000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav", CONFIG)[500:7500]).max() < 0.01


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([tone(16000), np.zeros(8000, dtype=np.float32)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", CONFIG), tone(16000) / 2, atol=1e-6)


def encoded(
    codec: str, container: str, rate: int, samples: np.ndarray, layout: str = "mono"
) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        channels = 1 if layout == "mono" else 2
        frame = av.AudioFrame.from_ndarray(
            np.repeat(samples[None], channels, axis=0), format="fltp", layout=layout
        )
        frame.sample_rate = rate
        for part in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(part)
    return buffer.getvalue()


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(
    ("codec", "container"), [("aac", "mp4"), ("libopus", "webm"), ("aac", "matroska")]
)
def test_sound_in_containers_only_ffmpeg_knows_is_read(
    tmp_path: Path, codec: str, container: str, layout: str
) -> None:
    (tmp_path / "a.bin").write_bytes(encoded(codec, container, 48000, tone(48000), layout))
    heard = read_audio(tmp_path / "a.bin", CONFIG)[1000:7000]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(6000)))
    assert abs(np.argmax(spectrum) * 16000 / 6000 - 440) < 5
    # 0.5 / sqrt(2), whatever the number of channels
    assert 0.33 < np.sqrt(np.mean(heard**2)) < 0.38


@pytest.mark.parametrize(("suffix", "error"), [(".wav", 2e-4), (".flac", 2e-4), (".ogg", 0.1)])
def test_what_is_written_comes_back(tmp_path: Path, suffix: str, error: float) -> None:
    write_audio(tmp_path / f"a{suffix}", tone(16000), 16000)
    heard = read_audio(tmp_path / f"a{suffix}", CONFIG)
    assert len(heard) == 8000 and np.abs(heard - tone(16000)).max() < error


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", np.full(100, 3.0, dtype=np.float32), 16000)
    assert read_audio(tmp_path / "a.wav", CONFIG).min() > 0.99


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_long_clip_is_refused_or_trimmed(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "long.wav", tone(rate, 3.0), rate)
    with pytest.raises(
        InputError, match=r"long\.wav: longer than the model's 0\.64 s; --trim keeps the beginning"
    ):
        read_audio(tmp_path / "long.wav", CONFIG)
    assert len(read_audio(tmp_path / "long.wav", CONFIG, trim=True)) == max_samples(CONFIG)


def test_a_long_clip_in_a_container_is_refused_or_trimmed(tmp_path: Path) -> None:
    (tmp_path / "long.m4a").write_bytes(encoded("aac", "mp4", 48000, tone(48000, 3.0)))
    with pytest.raises(InputError, match=r"longer than the model's 0\.64 s"):
        read_audio(tmp_path / "long.m4a", CONFIG)
    assert len(read_audio(tmp_path / "long.m4a", CONFIG, trim=True)) == max_samples(CONFIG)


@pytest.mark.parametrize("rate", [16000, 44100, 11025])
def test_a_clip_of_exactly_the_longest_length_is_accepted(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate, 0.64), rate)
    assert abs(len(read_audio(tmp_path / "a.wav", CONFIG)) - max_samples(CONFIG)) <= 8


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    soundfile.write(
        tmp_path / "a.wav", np.array([0.0, np.nan, 0.5], dtype=np.float32), 16000, subtype="FLOAT"
    )
    with pytest.raises(InputError, match=r"a\.wav: samples that are not finite"):
        read_audio(tmp_path / "a.wav", CONFIG)


def wav(rate: int, channels: int, frames: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((frames, channels), dtype=np.float32), rate, format="WAV")
    return buffer.getvalue()


HOSTILE = {
    "empty.wav": (b"", "the file is empty"),
    "text.wav": (b"this is not sound", "not a sound that soundfile or PyAV decodes"),
    "picture.png": (
        b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
        "it looks like a picture: give it as --image",
    ),
    "silent.wav": (wav(16000, 1, 0), "no sound in it"),
    "fast.wav": (wav(2_000_000, 1, 10), "1 channels at 2000000 Hz, refused"),
    "many.wav": (wav(16000, 100, 10), "100 channels at 16000 Hz, refused"),
    "cut.mp4": (encoded("aac", "mp4", 48000, tone(48000))[:600], "not a sound"),
    "playlist.m3u8": (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n", "not a sound"),
    "concat.txt": (b"ffconcat version 1.0\nfile secret.wav\n", "not a sound"),
}


@pytest.mark.usefixtures("within_bounds")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_sound_is_one_clear_line(tmp_path: Path, name: str) -> None:
    content, expected = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_audio(tmp_path / name, CONFIG)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n"),
        ("list.txt", "ffconcat version 1.0\nfile secret.ts\n"),
    ],
)
def test_a_playlist_cannot_make_ffmpeg_open_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.ts").write_bytes(encoded("aac", "mpegts", 48000, tone(48000)))
    Path(name).write_text(content, encoding="utf-8")
    with av.open(name) as unguarded:  # FFmpeg alone does open it
        assert unguarded.streams.audio
    with pytest.raises(InputError, match="not a sound"):
        read_audio(Path(name), CONFIG)


def test_an_unknown_suffix_to_write_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected one of \.wav, \.flac, \.ogg"):
        write_audio(tmp_path / "a.mp7", tone(16000), 16000)
