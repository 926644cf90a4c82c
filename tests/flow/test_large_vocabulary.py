"""V = 152,064, the text vocabulary of Qwen2.5-7B: no table of N×V, let alone V×V."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.sampling import sample_x_1
from nextomni_edge.flow.schedule import MetricSchedule
from tests.flow import reference
from tests.flow.tables import STEPS, random_table, start

VOCABULARY, FEW, MANY = 152_064, 24, 96
BOUND = 40 << 20  # five float64 temporaries of one chunk


@pytest.fixture(scope="module")
def path() -> MetricPath:
    return MetricPath(random_table(1, VOCABULARY, dimensions=8), MetricSchedule())


def peak(call: Callable[[], object]) -> int:
    """Bytes that a call holds at most at any one moment."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_of_a_step_does_not_grow_with_the_rows(path: MetricPath) -> None:
    x_t, x_1 = start(Noise(1), 0, MANY, 2, VOCABULARY).T
    jump, target = Noise(1).uniform(0, 0, Use.JUMP, MANY, 2).T
    for rule in STEPS.values():
        few, many = (
            peak(
                lambda n=n, rule=rule: rule(
                    x_t[:n], x_1[:n], 0.5, 0.02, path, jump[:n], target[:n], False
                )
            )
            for n in (FEW, MANY)
        )
        assert many < BOUND < MANY * VOCABULARY * 8
        assert many < few * 1.1


def test_memory_of_samples_does_not_grow_with_the_rows(path: MetricPath) -> None:
    x_1, uniform = np.arange(MANY), np.linspace(0.0, 0.99, MANY)
    logits = np.random.default_rng(2).standard_normal((MANY, VOCABULARY), dtype=np.float32)
    few, many = (peak(lambda n=n: path.corrupt(x_1[:n], 0.5, uniform[:n])) for n in (FEW, MANY))
    assert many < BOUND
    assert many < few * 1.1
    assert peak(lambda: sample_x_1(logits, uniform, 0.8)) < BOUND
    assert peak(lambda: sample_x_1(logits, uniform, 0.8, 50, 0.9)) < 2 * BOUND


def test_samples_of_a_large_vocabulary_follow_p_t(path: MetricPath) -> None:
    draws, t, x_1 = 64, 0.7, 77
    drawn = path.corrupt(np.full(draws, x_1), t, (np.arange(draws) + 0.5) / draws)
    d = path.metric.distance(np.array([x_1]))[0].astype(np.float64)
    cumulative = np.cumsum(reference.probability(d, reference.beta(t)))
    quantiles = (np.arange(draws) + 0.5) / draws
    assert (cumulative[drawn] > quantiles - 1e-9).all()
    assert (np.where(drawn > 0, cumulative[drawn - 1], 0.0) <= quantiles + 1e-9).all()
