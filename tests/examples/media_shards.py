"""Shards of every kind that examples/nextomni reads, in WebDataset's own hand."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
import webdataset
from PIL import Image

from nextomni_edge.train.stream import write_index


def picture(number: int, frames: int = 1) -> bytes:
    rng, file = np.random.default_rng(number), io.BytesIO()
    drawn = [
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)) for _ in range(frames)
    ]
    if frames == 1:
        drawn[0].save(file, "PNG")
    else:
        drawn[0].save(file, "GIF", save_all=True, append_images=drawn[1:])
    return file.getvalue()


def sound(number: int) -> bytes:
    """Sounds of different lengths."""
    file = io.BytesIO()
    samples = np.random.default_rng(number).uniform(-0.5, 0.5, 2000 + 700 * (number % 3))
    soundfile.write(file, samples, 16000, format="WAV")
    return file.getvalue()


SAMPLES = {
    "text-to-image": lambda number: {"asked.txt": "draw", "answer.png": picture(number)},
    "text-to-audio": lambda number: {"asked.txt": "say", "answer.wav": sound(number)},
    "image-to-text": lambda number: {
        "asked.txt": "what is this?", "asked.png": picture(number), "answer.txt": "a cat",
    },
    "video-to-text": lambda number: {
        "asked.txt": "what is this?", "asked.gif": picture(number, 3), "answer.txt": "a cat",
    },
    "image-to-audio": lambda number: {
        "asked.txt": "say it", "asked.png": picture(number), "answer.wav": sound(number),
    },
}  # fmt: skip


def write_shards(folder: Path) -> Path:
    """A folder of one shard with five samples for each source."""
    for name, sample in SAMPLES.items():
        (folder / name).mkdir(parents=True)
        with webdataset.TarWriter(str(folder / name / "0.tar")) as writer:
            for number in range(5):
                writer.write({"__key__": f"{number:03}"} | sample(number))
        write_index(folder / name)
    return folder
