"""The recorded arrays of published masked models (golden/README.md), read once."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from safetensors.numpy import load_file

FOLDER = Path(__file__).with_name("golden")
Array = NDArray[Any]


@functools.cache
def arrays(family: str) -> dict[str, Array]:
    folder = FOLDER / family
    files = ("golden.safetensors", "more.safetensors", "speech.safetensors")
    parts = [load_file(folder / file) for file in files if (folder / file).exists()]
    # Dream's arrays are a part of Omni-Diffusion's set
    parts += [arrays("dream")] if family == "omnidiffusion" else []
    return {name: array for part in parts for name, array in part.items()}


def clip(name: str) -> tuple[Array, int]:
    """A recorded sound, (channels, samples) float32 in [-1, 1], and its rate in Hz."""
    path = FOLDER / "omnidiffusion" / f"{name.replace('.', '_')}.flac"
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    return samples.T.astype(np.float32) / np.float32(32768), rate


@functools.cache
def read(family: str, name: str) -> Any:
    return json.loads((FOLDER / family / name).read_text(encoding="utf-8"))


SETTINGS = json.loads((FOLDER / "settings.json").read_text(encoding="utf-8"))


def mask_id(family: str) -> int:
    return int(read(family, "config.json")["mask_token_id"])


def close(found: Array, expected: Array, atol: float = 1e-4) -> None:
    """Equal within `atol`, infinities in the same places."""
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)
