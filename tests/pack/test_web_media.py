"""What the page makes of texts, pictures and sounds, against Python: the same ids, the same pixels,
the same log-mel."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from nextomni_edge.config import Fitting, ModelConfig, TextConfig
from nextomni_edge.media.audio import mono, write_audio
from nextomni_edge.media.image import fit, to_bytes
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.tokens.resample import resampled
from nextomni_edge.tokens.text import TextTokenizer
from tests.pack.given import DEMO, SIDES, texts_for, tokenizer_json

SCRIPT = Path(__file__).with_name("web") / "prepare.mjs"


def prepared(asked: list[dict[str, Any]]) -> list[Any]:
    """What the page's modules make of each."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node is installed: the page's media were not compared")
    done = subprocess.run(
        [node, SCRIPT], input="\n".join(map(json.dumps, asked)), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("fitting", ["white", "janus"])
def test_a_picture_becomes_pillows_pixels(fitting: Fitting) -> None:
    generator, asked, expected = np.random.default_rng(3), [], []
    for width, height in SIDES:
        levels = generator.integers(0, 256, (height, width, 4), np.uint8)
        levels[..., 3] = 255
        for size in (16, 33):
            asked.append(
                {"kind": "picture", "levels": levels.ravel().tolist(), "width": width,
                 "height": height, "size": size, "fitting": fitting}
            )  # fmt: skip
            expected.append(fit(Image.fromarray(levels[..., :3]), size, fitting))
    for found, pixels in zip(prepared(asked), expected, strict=True):
        assert np.array_equal(np.array(found, np.float32), pixels.ravel())


def test_a_clear_picture_stands_on_white_within_a_level() -> None:
    levels = np.random.default_rng(4).integers(0, 256, (40, 30, 4), np.uint8)
    asked = {"kind": "picture", "levels": levels.ravel().tolist(), "width": 30, "height": 40,
             "size": 40, "fitting": "white"}  # fmt: skip
    (found,) = prepared([asked])
    expected = fit(Image.fromarray(levels), 40).ravel()
    assert np.abs(np.array(found) - expected).max() <= 1.01 / 127.5


@pytest.mark.parametrize("truncated", [False, True])
def test_pixels_become_the_levels_of_python(truncated: bool) -> None:
    pixels = np.random.default_rng(5).uniform(-1.1, 1.1, (3, 9, 7)).astype(np.float32)
    pixels.ravel()[:4] = [-1.0, 1.0, 0.0, np.float32(0.5 / 127.5) - 1]  # halves go to the even one
    (found,) = prepared(
        [{"kind": "levels", "pixels": pixels.ravel().tolist(), "width": 7, "truncated": truncated}]
    )
    levels = np.array(found).reshape(9, 7, 4)
    assert np.array_equal(levels[..., :3], to_bytes(pixels, truncated))
    assert (levels[..., 3] == 255).all()


def wav(samples: np.ndarray[Any, Any], rate: int, subtype: str) -> list[int]:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return list(buffer.getvalue())


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_a_wav_becomes_the_samples_that_libsndfile_reads(subtype: str) -> None:
    samples = np.random.default_rng(6).uniform(-0.7, 0.7, (500, 2))
    content = wav(samples, 16000, subtype)
    (found,) = prepared([{"kind": "sound", "wav": content, "rate": 16000, "most": 400}])
    read, _ = soundfile.read(io.BytesIO(bytes(content)), dtype="float32")
    assert np.allclose(found, mono(read.T)[:400], atol=1e-7)


def test_channels_that_cancel_each_other_give_the_louder_one() -> None:
    one = np.sin(np.arange(300) / 7) * 0.5
    content = wav(np.stack([one, -1.01 * one], axis=1), 16000, "FLOAT")
    (found,) = prepared([{"kind": "sound", "wav": content, "rate": 16000, "most": 300}])
    read, _ = soundfile.read(io.BytesIO(bytes(content)), dtype="float32")
    assert np.allclose(found, read[:, 1], atol=1e-7)


def test_another_rate_is_resampled_by_the_windowed_sinc() -> None:
    samples = np.random.default_rng(7).uniform(-0.7, 0.7, 900).astype(np.float32)
    for rate in (8000, 22050, 48000):
        content = wav(samples, rate, "FLOAT")
        (found,) = prepared([{"kind": "sound", "wav": content, "rate": 16000, "most": 10**6}])
        assert np.allclose(found, resampled(samples, rate, 16000), atol=5e-5)


def test_log_mel_is_pythons() -> None:
    config = ModelConfig().audio
    samples = np.random.default_rng(8).uniform(-0.5, 0.5, 5000).astype(np.float32)
    settings = {name: getattr(config, name) for name in
                ("sample_rate", "n_fft", "hop", "mels", "frames_per_token")}  # fmt: skip
    (found,) = prepared([{"kind": "logMel", "samples": samples.tolist(), "config": settings}])
    expected = log_mel(samples, config)
    assert len(found) == expected.size and np.allclose(found, expected.ravel(), atol=1e-5)


def test_a_sound_is_saved_as_python_saves_it(tmp_path: Path) -> None:
    samples = np.random.default_rng(9).uniform(-1.2, 1.2, 700).astype(np.float32)
    (found,) = prepared([{"kind": "wav", "samples": samples.tolist(), "rate": 16000}])
    write_audio(tmp_path / "a.wav", samples, 16000)
    assert bytes(found) == (tmp_path / "a.wav").read_bytes()


@pytest.mark.parametrize("pattern", ["demo", "qwen", "gpt2"])
def test_texts_of_every_character_become_the_same_ids(pattern: str, tmp_path: Path) -> None:
    data = tokenizer_json(pattern)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    tokenizer = TextTokenizer(path, TextConfig())
    texts = texts_for(pattern)
    (found,) = prepared([{"kind": "text", "texts": texts, "tokenizer": data}])
    wrong = [
        text for text, ids in zip(texts, found, strict=True)
        if ids != tokenizer.encode(text).tolist()
    ]  # fmt: skip
    assert not wrong, [hex(ord(character)) for character in wrong[0]][:70]


def test_ids_become_the_same_texts() -> None:
    tokenizer, data = TextTokenizer(DEMO, TextConfig()), json.loads(DEMO.read_text())
    generator = np.random.default_rng(10)
    ids = [generator.integers(0, tokenizer.vocabulary_size, 12).tolist() for _ in range(300)]
    (found,) = prepared([{"kind": "decode", "ids": ids, "tokenizer": data}])
    assert found == [tokenizer.decode(np.array(each)) for each in ids]
