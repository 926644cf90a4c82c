"""Whole chains: their marginals against p_t, by simulation and by exact propagation of the step's
transition law."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.schedule import MetricSchedule
from tests.flow import reference
from tests.flow.tables import STEPS, random_table, start

SYMBOLS, X_1 = 8, 3
# near one another: p_t is spread at every t used
TABLE = random_table(21, SYMBOLS, dimensions=3) + np.float32([1.2, 0.0, 0.0])
DISTANCE = reference.distances(TABLE, X_1)


def simulate(name: str, chains: int, n: int, until: int) -> np.ndarray:
    """The empirical law of x at t = until/n over `chains` chains with x_1 fixed."""
    path, noise = MetricPath(TABLE, MetricSchedule()), Noise(11)
    x, x_1 = start(noise, 0, chains, 1, SYMBOLS)[:, 0], np.full(chains, X_1)
    for step in range(until):
        jump, target = (noise.uniform(0, step, use, chains)[:, 0] for use in (Use.JUMP, Use.TARGET))
        x = STEPS[name](x, x_1, step / n, 1 / n, path, jump, target, step == n - 1)
    return np.bincount(x, minlength=SYMBOLS) / chains


def biases(name: str, n: int) -> list[float]:
    """Exact total variation of the n-step chain's law to p_t at t = 0, 1/n, …, (n−1)/n."""
    laws = reference.marginals(DISTANCE, n, name)
    return [
        reference.total_variation(law, reference.probability(DISTANCE, reference.beta(i / n)))
        for i, law in enumerate(laws)
    ]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("quarter", [1, 3])
def test_simulated_marginals_are_p_t_up_to_sampling_and_step_bias(name: str, quarter: int) -> None:
    n, chains = 32, 30_000
    until = quarter * n // 4
    drawn, bound = simulate(name, chains, n, until), reference.sampling_bound(SYMBOLS, chains)
    p_t = reference.probability(DISTANCE, reference.beta(until / n))
    assert reference.total_variation(drawn, reference.marginals(DISTANCE, n, name)[until]) < bound
    assert reference.total_variation(drawn, p_t) < bound + biases(name, n)[until]
    # the chain did move
    assert reference.total_variation(drawn, np.full(SYMBOLS, 1 / SYMBOLS)) > 0.1


def test_sub_codes_evolve_each_on_its_own_codebook() -> None:
    codebooks, chains, n, until = 3, 20_000, 8, 6
    tables = np.stack([random_table(30 + k, SYMBOLS, dimensions=3) for k in range(codebooks)])
    noise, x_1 = Noise(12), np.tile([1, 4, 6], (chains, 1))
    x = start(noise, 0, chains, codebooks, SYMBOLS)
    for step in range(until):
        jump, target = (
            noise.uniform(0, step, use, chains, codebooks) for use in (Use.JUMP, Use.TARGET)
        )
        for k in range(codebooks):
            path = MetricPath(tables[k], MetricSchedule())
            x[:, k] = STEPS["corrected"](
                x[:, k], x_1[:, k], step / n, 1 / n, path, jump[:, k], target[:, k], False
            )
    for k in range(codebooks):
        drawn = np.bincount(x[:, k], minlength=SYMBOLS) / chains
        law = reference.marginals(reference.distances(tables[k], int(x_1[0, k])), n, "corrected")[
            until
        ]
        assert reference.total_variation(drawn, law) < reference.sampling_bound(SYMBOLS, chains)
    pairs = np.histogram2d(x[:, 0], x[:, 1], bins=[np.arange(SYMBOLS + 1)] * 2)[0] / chains
    apart = np.outer(pairs.sum(axis=1), pairs.sum(axis=0))
    # independent given x_1
    assert reference.total_variation(pairs, apart) < reference.sampling_bound(SYMBOLS**2, chains)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_200_000_chains_of_512_steps_have_marginals_p_t() -> None:
    chains, n = 200_000, 512
    p_t, bias = reference.probability(DISTANCE, reference.beta(0.5)), biases("euler", n)[n // 2]
    assert bias < 0.001
    assert reference.total_variation(
        simulate("euler", chains, n, n // 2), p_t
    ) < bias + reference.sampling_bound(SYMBOLS, chains)


def test_the_euler_bias_vanishes_in_proportion_to_the_step() -> None:
    halves = [biases("euler", n)[n // 2] for n in (32, 64, 128, 256)]
    for coarse, fine in itertools.pairwise(halves):
        assert 1.6 < coarse / fine < 2.6


def test_the_corrected_step_is_nearer_to_p_t_than_euler_at_equal_n() -> None:
    worst: dict[tuple[str, int], float] = {}
    for n in (8, 16, 50):
        euler, corrected = biases("euler", n), biases("corrected", n)
        assert all(near < far for near, far in zip(corrected[1:], euler[1:], strict=True))
        worst["euler", n], worst["corrected", n] = max(euler), max(corrected)
    assert worst["corrected", 50] < worst["euler", 50] / 4
    assert worst["corrected", 16] < worst["euler", 50]
