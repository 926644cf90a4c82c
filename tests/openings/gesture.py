"""A toy modality: a gesture is a row of points in the plane, in a CSV file
(nextomni_edge/modalities/gesture.py in the tests' copy)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.modalities.modality import Codec, Float32, Modality
from nextomni_edge.spec import MAX_BATCH, Dim, GraphSpec, TensorSpec, Wire


def codec(config: ModelConfig) -> list[GraphSpec]:
    gesture = config.coded("gesture")
    batch, length = Dim("batch", 1, MAX_BATCH), Dim("length", 1, GESTURE.most(config))
    points = TensorSpec("points", "float32", (batch, length, 2))
    codes = TensorSpec(Wire.CODES, "int64", (batch, length, gesture.codebook.codebooks))
    return [
        GraphSpec("gesture_encoder", (points,), (codes,)),
        GraphSpec("gesture_decoder", (codes,), (points,)),
    ]


def read(path: Path, config: ModelConfig, trim: bool) -> Float32:
    try:
        points = np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
    except ValueError as error:
        raise InputError(f"{path}: not a gesture ({error})") from error
    return points[: GESTURE.most(config)] if trim else points


def write(path: Path, points: Float32, config: ModelConfig, frames_per_second: float) -> None:
    with atomic_write(path, "w") as file:
        np.savetxt(file, points, delimiter=",")


GESTURE = Modality(
    name="gesture",
    title="a gesture",
    suffixes=(".csv",),
    opened_by="holds x,y in each line",
    formats={".csv": "CSV"},
    reader="nextomni_edge.modalities.gesture:read",
    writer="nextomni_edge.modalities.gesture:write",
    most=lambda config: config.coded("gesture").positions,
    usual=lambda config: config.coded("gesture").positions,
    shape=lambda config, points: (points, config.coded("gesture").codebook.codebooks),
    codec=Codec("points", "points", rank=2, graphs="nextomni_edge.modalities.gesture:codec"),
)
