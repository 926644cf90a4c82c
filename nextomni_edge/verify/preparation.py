"""What happens to a prompt before any network sees it: text to ids, a picture to pixels, a sound to
its log-mel. A few of each stand in the golden trace, so that a device proves these too."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import NextOmniError
from nextomni_edge.media.audio import read_audio
from nextomni_edge.media.image import read_image, to_bytes
from nextomni_edge.tokens.audio import heard, max_samples
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.verify.comparison import Array

Prepared = dict[str, tuple[Array, Array]]  # what is given and what becomes of it, by name
TEXTS: Final = (
    "draw a red rocket, noto style",
    "  two spaces,\ttab,\nline; digits 1234567890 and CAPITALS",
    "naïve Ωμέγα 火箭 🚀🏽 e\u0301 \u200bzero width",
    "<|im_end|> <|eos|> </s> <s> <begin_of_image> [MASK] are words here",
)
SOUND_SECONDS: Final = 0.4
# A picture's levels are rounded to 8 bits: another release of Pillow may round the other way.
LEVELS: Final = 1
LOG_MEL: Final = 1e-4  # of Whisper's units; another FFT rounds other last digits


def given(config: ModelConfig) -> Iterator[tuple[str, Array]]:
    """(name, bytes) of each: UTF-8 text, a PNG with transparency, a WAV of two channels."""
    for index, text in enumerate(TEXTS):
        yield f"text/{index}", np.frombuffer(text.encode(), np.uint8)
    generator = np.random.default_rng(7)
    if "image" in config.modalities:
        small = generator.integers(0, 256, (9, 13, 4), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(small).resize((130, 90), Image.Resampling.NEAREST).save(buffer, "PNG")
        yield "image/0", np.frombuffer(buffer.getvalue(), np.uint8)
    if "audio" in config.modalities:
        yield "audio/0", _sound(config, generator)


def _sound(config: ModelConfig, generator: np.random.Generator) -> Array:
    import soundfile

    rate = config.audio.sample_rate
    count = min(max_samples(config.audio), round(SOUND_SECONDS * rate))
    times = np.arange(count)[:, None] / rate
    samples = 0.4 * np.sin(2 * np.pi * np.array([440.0, 660.0]) * times)
    samples += 0.05 * generator.standard_normal(samples.shape)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def prepare(name: str, content: Array, config: ModelConfig, tokenizer: TextTokenizer) -> Array:
    """Ids (n,) int64, levels (height,width,3) uint8, or log-mel (tokens,frames,mels) float32.
    InputError: the bytes are not what the name says."""
    kind = name.split("/", maxsplit=1)[0]
    if kind == "text":
        return tokenizer.encode(content.tobytes().decode("utf-8", "replace"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given"
        path.write_bytes(content.tobytes())
        if kind == "image":
            return to_bytes(read_image(path, config.image.size, config.image.fitting))
        return heard(read_audio(path, config.audio.heard, trim=True), config.audio)


def record(config: ModelConfig, tokenizer: TextTokenizer) -> Prepared:
    """What this machine makes of each."""
    return {
        name: (content, prepare(name, content, config, tokenizer))
        for name, content in given(config)
    }


def compare(
    recorded: Mapping[str, tuple[Array, Array]], config: ModelConfig, tokenizer: TextTokenizer
) -> Iterator[str]:
    """One line for each that comes out otherwise on this machine than where it was recorded."""
    for name, (content, expected) in recorded.items():
        try:
            found = prepare(name, content, config, tokenizer)
        except NextOmniError as failure:
            yield f"preparation {name}: {failure}"
            continue
        if line := _difference(name, found, expected):
            yield f"preparation {name}: {line}"


def _difference(name: str, found: Array, expected: Array) -> str | None:
    if found.shape != expected.shape:
        return f"shape {found.shape}, recorded {expected.shape}"
    if name.startswith("text"):
        differs = np.flatnonzero(found != expected)
        if not differs.size:
            return None
        at = int(differs[0])
        return f"id {found[at]} at {at}, recorded {expected[at]}"
    measured = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    allowed, unit = (LEVELS, "levels") if name.startswith("image") else (LOG_MEL, "of its log-mel")
    # written so that NaN is a difference
    return None if measured <= allowed else f"differs by {measured:.3g} {unit}, limit {allowed:g}"
