"""The recorded arrays of published masked models (golden/README.md), read once."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

FOLDER = Path(__file__).with_name("golden")
Array = NDArray[Any]


@functools.cache
def arrays(family: str) -> dict[str, Array]:
    own = load_file(FOLDER / family / "golden.safetensors")
    # the set that Dream's arrays are a part of
    return {**arrays("dream"), **own} if family == "omnidiffusion" else own


@functools.cache
def read(family: str, name: str) -> Any:
    return json.loads((FOLDER / family / name).read_text(encoding="utf-8"))


SETTINGS = json.loads((FOLDER / "settings.json").read_text(encoding="utf-8"))


def mask_id(family: str) -> int:
    return int(read(family, "config.json")["mask_token_id"])


def close(found: Array, expected: Array, atol: float = 1e-4) -> None:
    """Equal within `atol`, infinities in the same places."""
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)
