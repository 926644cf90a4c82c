"""What the Swift code must make of pictures and sounds, computed by the Python: `python -m
tests.pack.vectors` writes it with the others."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile
from PIL import Image, ImageOps

from nextomni_edge.media.image import fit, to_bytes
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.tokens.resample import resampled
from tests.tiny import tiny_config

SIZES = ((5, 3), (16, 16), (20, 27), (21, 7), (1, 9))
RATES = ((48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (16_000, 16_000))
SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")
EXIF = 0x0112


def pictures() -> list[dict[str, Any]]:
    """Pictures with transparency, and the levels (size,size,3) that the encoder sees of each."""
    generator, found = np.random.default_rng(21), []
    for width, height in SIZES:
        levels = generator.integers(0, 256, (height, width, 4)).astype(np.uint8)
        image = Image.fromarray(levels, "RGBA")
        seen = {name: to_bytes(fit(image, 16, name)) for name in ("white", "janus")}
        found.append(
            {"width": width, "height": height, "levels": levels.reshape(-1).tolist()}
            | {name: own.reshape(-1).tolist() for name, own in seen.items()}
        )
    return found


def orientations() -> dict[str, Any]:
    """A picture as each orientation of a camera means it."""
    levels = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(2, 3, 4)
    seen = []
    for exif in range(1, 9):
        image = Image.fromarray(levels, "RGBA")
        image.getexif()[EXIF] = exif
        turned = ImageOps.exif_transpose(image)
        seen.append(
            {"width": turned.width, "levels": np.asarray(turned, np.uint8).reshape(-1).tolist()}
        )
    return {"width": 3, "height": 2, "levels": levels.reshape(-1).tolist(), "seen": seen}


def written() -> dict[str, Any]:
    """Pixels as levels, rounded and cut off."""
    pixels = np.linspace(-1.2, 1.2, 3 * 3 * 2, dtype=np.float32).reshape(3, 3, 2)
    levels = {
        name: to_bytes(pixels, name == "cut").reshape(-1).tolist() for name in ("round", "cut")
    }
    return {"width": 2, "pixels": pixels.reshape(-1).tolist(), **levels}


def sounds() -> dict[str, Any]:
    generator, config = np.random.default_rng(22), tiny_config().audio
    samples = np.round(generator.uniform(-1, 1, 90), 4).astype(np.float32)
    wave = np.round(np.sin(np.arange(2000) ** 1.3 / 40) * 0.5, 4).astype(np.float32)
    return {
        "samples": samples.tolist(),
        "resampled": [
            {"from": source, "to": target, "samples": resampled(samples, source, target).tolist()}
            for source, target in RATES
        ],
        "wave": wave.tolist(),
        "logMel": np.round(log_mel(wave, config), 5).reshape(-1).tolist(),
        "files": [_file(name, samples[:8]) for name in SUBTYPES],
    }


def _file(subtype: str, samples: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A WAV file, and what libsndfile reads of it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.reshape(-1, 2), 8_000, format="WAV", subtype=subtype)
    data = bytearray(buffer.getvalue())
    if (peak := data.find(b"PEAK")) >= 0:
        data[peak + 12 : peak + 16] = bytes(4)  # when it was written
    read, _ = soundfile.read(io.BytesIO(bytes(data)), dtype="float32")
    mono = io.BytesIO()
    soundfile.write(mono, samples, 8_000, format="WAV", subtype="PCM_16")
    return {
        "subtype": subtype, "bytes": list(data), "channels": read.T.tolist(),
        "mono": samples.tolist(), "written": list(mono.getvalue()),
    }  # fmt: skip


def vectors() -> dict[str, Any]:
    """Every file by its name."""
    return {
        "media.json": {
            "pictures": pictures(), "orientations": orientations(), "written": written(),
            "sounds": sounds(),
        }
    }  # fmt: skip
