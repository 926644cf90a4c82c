"""Runs that are drawn at random, for the loops in other languages: their tokens must be Python's at
every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from nextomni_edge.config import ModelConfig, PathConfig
from nextomni_edge.flow.path import steppers_of
from nextomni_edge.tokens.chat import Kind
from tests.pack.vectors import CONFIG


def drawn_at_random() -> Iterator[tuple[ModelConfig, Kind, dict[str, Any]]]:
    """Models and settings of runs: both paths, every rule, guidance that ends."""
    generator = np.random.default_rng(11)
    mixture = PathConfig(kind="mixture", source="uniform", kappa="cosine")
    mask = CONFIG.text.vocabulary_size - 1
    masked = PathConfig(kind="mixture", kappa="shifted", shift=0.6, mask=mask)
    flow = dataclasses.replace(CONFIG.flow, audio=mixture, text=masked)
    mixed = dataclasses.replace(CONFIG, flow=flow)
    for index in range(24):
        config = (CONFIG, mixed)[index % 2]
        kind = ("image", "audio", "text")[int(generator.integers(3))]
        settings: dict[str, Any] = {
            "steps": int(generator.integers(1, 9)), "seed": int(generator.integers(2**62)),
            "temperature": float(generator.choice([0.0, 0.4, 1.0])),
            "stepper": str(generator.choice(steppers_of(config.path(kind)))),
        }  # fmt: skip
        if settings["temperature"]:
            settings |= {"top_k": int(generator.integers(0, 9)), "top_p": 0.9}
        if generator.integers(2):
            settings |= {"guidance": 1.5, "guidance_until": float(generator.choice([0.3, 1.0]))}
        yield config, kind, settings
