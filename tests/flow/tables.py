"""Metric tables for the tests, and how many of them a property is tried on."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray

# no deadline: a busy machine is no failure
tried = settings(max_examples=40, deadline=None, derandomize=True)


def random_table(seed: int, vocabulary: int, dimensions: int = 4) -> NDArray[np.float32]:
    """(vocabulary, dimensions) float32, rows of unequal norms."""
    return np.random.default_rng(seed).standard_normal((vocabulary, dimensions)).astype(np.float32)


def tied_table(seed: int, vocabulary: int) -> NDArray[np.float32]:
    """A table whose distances tie: a zero row, equal rows, equal directions, and signed axes that
    are equally far apart."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [np.zeros((1, 3)), np.eye(3), -np.eye(3), 2 * np.eye(3), rng.standard_normal((2, 3))]
    )
    return rows[rng.integers(0, len(rows), vocabulary)].astype(np.float32)


def paired_table(seed: int, vocabulary: int) -> NDArray[np.float32]:
    """Every row twice, in a plane, so that near symbols exist at any t."""
    return np.repeat(random_table(seed, vocabulary // 2, dimensions=2), 2, axis=0)
