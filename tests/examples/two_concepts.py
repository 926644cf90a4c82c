"""Data for the demo's recipe that is made in no time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "emoji"))

import dataset
from prompts import (
    GENERATION_VOICES,
)


def two_concepts(folder: Path) -> Path:
    """Two concepts, three artists, the voices that the model speaks with: noise, for nothing is
    learnt here. `folder` is returned."""
    rng = np.random.default_rng(0)
    pairs, voices = 2 * 3, len(GENERATION_VOICES)
    concepts = json.dumps(["star", "tree"])
    drawings = {
        "rgba": rng.integers(0, 256, (pairs, dataset.DRAWN, dataset.DRAWN, 4), dtype=np.uint8),
        "concept": np.arange(pairs) % 2,
        "artist": np.arange(pairs) % 3,
        "heldout": np.zeros(pairs, np.uint8),
    }
    speech = {
        "waveform": rng.integers(-9000, 9000, (2 * voices, dataset.SAMPLES), dtype=np.int16),
        "concept": np.arange(2 * voices) % 2,
        "voice": np.arange(2 * voices) // 2,
        "heldout": np.zeros(2 * voices, np.uint8),
    }
    save_file(
        drawings,
        folder / "drawings.safetensors",
        {"artists": json.dumps(["a", "b", "c"]), "concepts": concepts},
    )
    save_file(
        speech,
        folder / "speech.safetensors",
        {"voices": json.dumps(list(GENERATION_VOICES)), "concepts": concepts},
    )
    return folder
