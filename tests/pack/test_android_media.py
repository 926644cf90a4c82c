"""What the Kotlin code makes of texts, pictures and sounds, against Python: the same ids, the same
pixels, the same log-mel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextomni_edge.config import Fitting, ModelConfig, TextConfig
from nextomni_edge.media.audio import mono
from nextomni_edge.media.image import fit, to_bytes
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.tokens.resample import resampled
from nextomni_edge.tokens.text import TextTokenizer
from tests.pack.given import DEMO, SIDES, texts_for, tokenizer_json
from tests.pack.jvm import command, needs_compiler


def prepared(asked: list[dict[str, Any]]) -> list[Any]:
    """What the Kotlin code makes of each."""
    needs_compiler()
    done = subprocess.run(
        command("Prepare"), input="\n".join(map(json.dumps, asked)), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def packed(levels: np.ndarray[Any, Any]) -> list[int]:
    """Levels (height,width,4) of red, green, blue and alpha as Bitmap.getPixels gives them."""
    red, green, blue, alpha = np.moveaxis(levels.astype(np.uint32), 2, 0)
    whole = (alpha << 24 | red << 16 | green << 8 | blue).astype(np.uint32)
    return [int(colour) for colour in whole.view(np.int32).ravel()]


def config(size: int, fitting: Fitting) -> dict[str, Any]:
    book = {"codebooks": 1, "entries": 2}
    return {"size": size, "patch": 1, "fitting": fitting, "codebook": book}


@pytest.mark.parametrize("fitting", ["white", "janus"])
def test_a_picture_becomes_pillows_pixels(fitting: Fitting) -> None:
    generator, asked, expected = np.random.default_rng(3), [], []
    for width, height in SIDES:
        levels = generator.integers(0, 256, (height, width, 4), np.uint8)
        levels[..., 3] = 255
        for size in (16, 33):
            asked.append(
                {"kind": "picture", "argb": packed(levels), "width": width, "height": height,
                 "config": config(size, fitting)}
            )  # fmt: skip
            expected.append(fit(Image.fromarray(levels[..., :3]), size, fitting))
    for found, pixels in zip(prepared(asked), expected, strict=True):
        assert np.array_equal(np.array(found, np.float32), pixels.ravel())


def test_a_clear_picture_stands_on_white_within_a_level() -> None:
    levels = np.random.default_rng(4).integers(0, 256, (40, 30, 4), np.uint8)
    asked = {"kind": "picture", "argb": packed(levels), "width": 30, "height": 40,
             "config": config(40, "white")}  # fmt: skip
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
    levels = to_bytes(pixels, truncated)
    clear = np.full((9, 7, 1), 255, np.uint8)
    assert found == packed(np.concatenate([levels, clear], axis=2))


def test_channels_become_one_and_the_louder_one_where_they_cancel() -> None:
    samples = np.random.default_rng(6).uniform(-0.7, 0.7, (2, 500)).astype(np.float32)
    against = np.stack([samples[0], np.float32(-1.01) * samples[0]])
    both, louder = prepared(
        [{"kind": "sound", "channels": channels.tolist(), "from": 16000, "rate": 16000, "most": 400}
         for channels in (samples, against)]
    )  # fmt: skip
    assert np.allclose(both, mono(samples)[:400], atol=1e-7)
    assert np.allclose(louder, against[1][:400], atol=1e-7)


def test_another_rate_is_resampled_by_the_windowed_sinc() -> None:
    samples = np.random.default_rng(7).uniform(-0.7, 0.7, 900).astype(np.float32)
    rates = (8000, 22050, 48000)
    asked = [
        {"kind": "sound", "channels": [samples.tolist()], "from": rate, "rate": 16000,
         "most": 10**6}
        for rate in rates
    ]  # fmt: skip
    for rate, found in zip(rates, prepared(asked), strict=True):
        assert np.allclose(found, resampled(samples, rate, 16000), atol=5e-5)


def test_log_mel_is_pythons() -> None:
    audio = ModelConfig().audio
    samples = np.random.default_rng(8).uniform(-0.5, 0.5, 5000).astype(np.float32)
    names = ("sample_rate", "n_fft", "hop", "mels", "frames_per_token", "max_seconds")
    settings: dict[str, Any] = {name: getattr(audio, name) for name in names}
    settings["codebook"] = {"codebooks": 1, "entries": 2}
    (found,) = prepared([{"kind": "logMel", "samples": samples.tolist(), "config": settings}])
    expected = log_mel(samples, audio)
    assert len(found) == expected.size and np.allclose(found, expected.ravel(), atol=1e-5)


@pytest.mark.parametrize("pattern", ["demo", "qwen", "gpt2"])
def test_texts_of_every_character_become_the_same_ids(pattern: str, tmp_path: Path) -> None:
    """Java 17 has Unicode 13, so later characters are left out."""
    data, path = tokenizer_json(pattern), tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    tokenizer, texts = TextTokenizer(path, TextConfig()), texts_for(pattern, old=True)
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
