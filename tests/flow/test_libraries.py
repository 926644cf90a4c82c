"""numpy and torch: the same ids for the same uniforms, but for near ties, which are counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.sampling import sample_x_1, truncated_weight
from nextomni_edge.flow.schedule import MetricSchedule
from nextomni_edge.flow.velocity import boltzmann, intensity, jump_weight
from tests.flow.tables import STEPS, random_table, start, tied_table

ROWS, NEAR = 2000, 1e-9  # float64 sums of float32 distances: far fewer digits than this can differ


def edge_distance(weight: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """How far each uniform is from the nearest edge of its row's CDF."""
    cumulative = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
    return np.abs(cumulative - uniform[:, None]).min(axis=1)


def assert_equal_but_for_near_ties(
    ours: np.ndarray, theirs: torch.Tensor, margin: np.ndarray
) -> None:
    assert theirs.dtype == torch.int64
    differ = ours != theirs.numpy()
    assert (margin[differ] < NEAR).all(), f"{differ.sum()} rows differ, margins {margin[differ]}"
    assert differ.sum() <= 1


@pytest.mark.parametrize(
    "table", [random_table(1, 64, 8), tied_table(1, 64)], ids=["random", "tied"]
)
@pytest.mark.parametrize("t", [0.0, 0.3, 0.95, 1.0])
def test_samples_of_the_path(table: np.ndarray, t: float) -> None:
    paths = [MetricPath(library, MetricSchedule()) for library in (table, torch.tensor(table))]
    x_1, uniform = np.arange(ROWS) % 64, Noise(1).uniform(0, 0, Use.START, ROWS)[:, 0]
    np.testing.assert_allclose(
        paths[1].probability(torch.tensor(x_1), t).numpy(), paths[0].probability(x_1, t), atol=1e-7
    )
    beta = np.full(ROWS, min(MetricSchedule()(t)[0], 1e30))
    margin = edge_distance(boltzmann(paths[0].metric.distance(x_1), beta), uniform)
    drawn = paths[1].corrupt(torch.tensor(x_1), t, torch.tensor(uniform))
    assert_equal_but_for_near_ties(paths[0].corrupt(x_1, t, uniform), drawn, margin)


def test_an_array_of_times_in_float32() -> None:
    table, x_1 = random_table(2, 64, 8), np.arange(ROWS) % 64
    times, uniform = Noise(2).uniform(0, 0, Use.X_1, ROWS, 2).astype(np.float32).T
    beta = MetricSchedule().beta(times)
    path, theirs = (
        MetricPath(table, MetricSchedule()),
        MetricPath(torch.tensor(table), MetricSchedule()),
    )
    drawn = theirs.corrupt(torch.tensor(x_1), torch.tensor(times), torch.tensor(uniform))
    margin = edge_distance(boltzmann(path.metric.distance(x_1), beta), uniform.astype(np.float64))
    assert_equal_but_for_near_ties(path.corrupt(x_1, times, uniform), drawn, margin)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(
    "table", [random_table(3, 64, 8), tied_table(3, 64)], ids=["random", "tied"]
)
@pytest.mark.parametrize("t", [0.0, 0.4, 0.9])
def test_steps(name: str, table: np.ndarray, t: float) -> None:
    noise, h, schedule = Noise(3), 0.05, MetricSchedule()
    x_t, x_1 = start(noise, 0, ROWS, 2, 64).T
    jump, target = (noise.uniform(0, 1, use, ROWS)[:, 0] for use in (Use.JUMP, Use.TARGET))
    paths = [MetricPath(library, schedule) for library in (table, torch.tensor(table))]
    as_torch = [torch.tensor(array) for array in (x_t, x_1, jump, target)]
    ours = STEPS[name](x_t, x_1, t, h, paths[0], jump, target, False)
    theirs = STEPS[name](as_torch[0], as_torch[1], t, h, paths[1], as_torch[2], as_torch[3], False)
    beta, rate = schedule(t)[0], h * schedule(t)[1]
    if name == "corrected":
        beta, rate = schedule(t + h / 2)[0], schedule(t + h)[0] - schedule(t)[0]
    weight = jump_weight(paths[0].metric.distance(x_1), x_t, beta)
    jump_margin = np.abs(jump + np.expm1(-rate * weight.sum(axis=1)))
    moves = weight.sum(axis=1) > 0
    target_margin = np.ones(ROWS)
    target_margin[moves] = edge_distance(weight[moves], target[moves])
    assert_equal_but_for_near_ties(ours, theirs, np.minimum(jump_margin, target_margin))
    assert (ours != x_t).any() == (name == "corrected" or t > 0)
    np.testing.assert_allclose(
        intensity(as_torch[0], as_torch[1], t, paths[1].metric, paths[1].schedule).numpy(),
        intensity(x_t, x_1, t, paths[0].metric, paths[0].schedule),
        rtol=1e-9,
    )


@pytest.mark.parametrize("options", [(0.0, 0, 1.0), (1.0, 0, 1.0), (0.7, 20, 1.0), (1.3, 40, 0.9)])
def test_draws_of_x_1(options: tuple[float, int, float]) -> None:
    logits = np.random.default_rng(4).standard_normal((ROWS, 64)).astype(np.float32) * 3
    uniform = Noise(4).uniform(0, 0, Use.X_1, ROWS)[:, 0]
    margin = (
        edge_distance(truncated_weight(logits, *options), uniform) if options[0] else np.ones(ROWS)
    )
    drawn = sample_x_1(torch.tensor(logits), torch.tensor(uniform), *options)
    assert_equal_but_for_near_ties(sample_x_1(logits, uniform, *options), drawn, margin)
