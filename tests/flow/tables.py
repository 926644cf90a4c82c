"""Metric tables and calls for the tests, and how many tables a property is tried on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray

from nextomni_edge.flow.arrays import uniform_ids
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use

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


def start(
    noise: Noise, segment: int, positions: int, codes: int, vocabulary: int
) -> NDArray[np.int64]:
    """x_0 (positions, codes), uniform over the symbols."""
    ids: NDArray[np.int64] = uniform_ids(
        noise.uniform(segment, 0, Use.START, positions, codes), vocabulary
    )
    return ids


Step = Callable[..., Any]


def _step(rule: str, x_t: Any, x_1: Any, t: float, h: float, path: MetricPath, *draws: Any) -> Any:
    return path.ruled(rule).step(x_t, x_1, t, h, *draws)


# a step (x_t, x_1, t, h, path, jump, target, last) by each rule of the metric path
STEPS: dict[str, Step] = {rule: functools.partial(_step, rule) for rule in MetricPath.rules}
