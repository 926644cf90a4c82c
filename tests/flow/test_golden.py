"""FUDOKI's public code as oracle, by its recorded numbers (data/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.schedule import MetricSchedule
from nextomni_edge.flow.velocity import intensity, jump_weight, velocity
from tests.flow.tables import STEPS

GOLDEN = {
    name: array.astype(np.int64) if array.dtype == np.int16 else array
    for name, array in load_file(Path(__file__).parent / "data" / "fudoki_flow.safetensors").items()
}
TIMES = [float(t) for t in GOLDEN["flow.t"]]
modalities = pytest.mark.parametrize(("table", "name"), [("text", "txt"), ("image", "img")])


def golden_path(table: str) -> MetricPath:
    return MetricPath(GOLDEN[f"table.{table}"], MetricSchedule(3.0, 0.9))


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within 1e-4 of max(1, expected)."""
    np.testing.assert_array_less(np.abs(actual - expected) / np.maximum(1.0, expected), 1e-4)


def test_schedule() -> None:
    for t, beta, d_beta in zip(TIMES, GOLDEN["flow.beta"], GOLDEN["flow.d_beta"], strict=True):
        np.testing.assert_allclose(MetricSchedule(3.0, 0.9)(t), (beta, d_beta), rtol=1e-5)


@modalities
def test_distance_and_path(table: str, name: str) -> None:
    path, x_1 = golden_path(table), GOLDEN[f"flow.{name}.x_1"]
    np.testing.assert_allclose(
        path.metric.distance(x_1), GOLDEN[f"flow.{name}.distance"], atol=2e-5
    )
    for t, p_t in zip(TIMES, GOLDEN[f"flow.{name}.p_t"], strict=True):
        np.testing.assert_allclose(path.probability(x_1, t), p_t, atol=1e-5)


@modalities
def test_velocity_and_intensity(table: str, name: str) -> None:
    path, x_1, x_t = golden_path(table), GOLDEN[f"flow.{name}.x_1"], GOLDEN[f"flow.{name}.x_t"]
    for t, u, total in zip(
        TIMES, GOLDEN[f"flow.{name}.u"], GOLDEN[f"flow.{name}.intensity"], strict=True
    ):
        assert_close(velocity(x_t, x_1, t, path.metric, path.schedule), u)
        assert_close(intensity(x_t, x_1, t, path.metric, path.schedule), total)


@pytest.mark.parametrize(("table", "run"), [("image", "traj_gen"), ("text", "traj_und")])
def test_a_recorded_trajectory_replays_exactly(table: str, run: str) -> None:
    path, golden = (
        golden_path(table),
        {
            key: GOLDEN[f"{run}.{key}"]
            for key in ("t", "h", "x_1", "uniform", "target", "jump", "x_t")
        },
    )
    states, steps = golden["x_t"], len(golden["h"])
    assert golden["jump"].any()
    for i in range(steps):
        last, t, h = i == steps - 1, float(golden["t"][i]), float(golden["h"][i])
        x_t, x_1 = states[i], golden["x_1"][i]
        uniform = np.zeros(x_t.shape) if last else golden["uniform"][i].astype(np.float64)
        target = golden["target"][i] if not last else x_1
        # a uniform that makes the inverse CDF draw the recorded target: the middle of its stretch
        weight = (
            jump_weight(path.metric.distance(x_1), x_t, MetricSchedule(3.0, 0.9)(t)[0])
            if not last
            else np.ones((len(x_1), 1))
        )
        cumulative = np.cumsum(weight, axis=1) / np.maximum(
            weight.sum(axis=1, keepdims=True), 1e-300
        )
        rows, symbol = (
            np.arange(len(x_t)),
            np.maximum(target, 0) if not last else np.zeros_like(target),
        )
        middle = cumulative[rows, symbol] - 0.5 * weight[rows, symbol] / np.maximum(
            weight.sum(axis=1), 1e-300
        )
        x_next = STEPS["euler"](
            x_t, x_1, t, h, path, uniform, np.clip(middle, 0.0, 1.0 - 1e-9), last
        )
        np.testing.assert_array_equal(x_next, states[i + 1])
        if not last:
            assert_close(
                intensity(x_t, x_1, t, path.metric, path.schedule), GOLDEN[f"{run}.intensity"][i]
            )
            np.testing.assert_array_equal(x_next != x_t, golden["jump"][i])
