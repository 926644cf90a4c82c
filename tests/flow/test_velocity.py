from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import InputError
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.schedule import MetricSchedule
from nextomni_edge.flow.velocity import intensity, jump_weight, velocity
from tests.flow import reference
from tests.flow.tables import paired_table, random_table, tied_table, tried

SCHEDULE = MetricSchedule()
times = st.just(0.0) | st.floats(1e-6, 0.999)


def generator(path: MetricPath, x_1: int, t: float) -> np.ndarray:
    """Q[x, z]: rate from z to x, the diagonal what leaves z, from the package's own float64
    weights."""
    everything = np.arange(path.vocabulary)
    distance = path.metric.distance(np.full(path.vocabulary, x_1))
    beta, d_beta = SCHEDULE(t)
    rates = d_beta * jump_weight(distance, everything, beta).T
    return rates - np.diag(rates.sum(axis=0))


@pytest.mark.parametrize("t", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(
    "table", [random_table(1, 24, dimensions=2), paired_table(1, 24)], ids=["random", "paired"]
)
def test_p_t_and_the_velocity_satisfy_the_kolmogorov_forward_equation(
    table: np.ndarray, t: float
) -> None:
    path, x_1, h = MetricPath(table, SCHEDULE), 3, 1e-6
    d = path.metric.distance(np.array([x_1]))[0].astype(np.float64)
    before, now, after = (
        reference.probability(d, SCHEDULE(t + offset)[0]) for offset in (-h, 0.0, h)
    )
    change, flow = (after - before) / (2 * h), generator(path, x_1, t) @ now
    np.testing.assert_allclose(flow, change, atol=1e-7 * np.abs(change).max())
    assert np.abs(change).max() > 1e-3  # something flows: 0 = 0 would prove nothing


@tried
@given(seed=st.integers(0, 999), vocabulary=st.integers(2, 16), tied=st.booleans(), t=times)
def test_velocity_and_intensity_are_those_of_the_quadratic_definition(
    seed: int, vocabulary: int, tied: bool, t: float
) -> None:
    table = tied_table(seed, vocabulary) if tied else random_table(seed, vocabulary)
    path, x_t = MetricPath(table, SCHEDULE), np.arange(vocabulary)
    for x_1 in {0, vocabulary // 2, vocabulary - 1}:
        # from the package's own float32 distances: near t = 1 beta multiplies what the rounding
        # took away
        d = path.metric.distance(np.array([x_1]))[0].astype(np.float64)
        u = reference.velocity(d, reference.beta(t), reference.d_beta(t))
        np.testing.assert_allclose(
            velocity(x_t, np.full(vocabulary, x_1), t, path.metric, path.schedule),
            u.T,
            rtol=1e-6,
            atol=1e-30,
        )
        leaving = intensity(x_t, np.full(vocabulary, x_1), t, path.metric, path.schedule)
        np.testing.assert_allclose(leaving, u.sum(axis=0), rtol=1e-9, atol=1e-30)


@tried
@given(seed=st.integers(0, 999), tied=st.booleans(), t=st.floats(0.001, 1.0))
def test_mass_only_moves_toward_x_1(seed: int, tied: bool, t: float) -> None:
    table = tied_table(seed, 12) if tied else random_table(seed, 12)
    path, x_t, x_1 = MetricPath(table, SCHEDULE), np.arange(12), np.full(12, 5)
    u, distance = velocity(x_t, x_1, t, path.metric, path.schedule), path.metric.distance(x_1)
    assert np.isfinite(u).all()
    assert (u >= 0).all()
    assert (u[distance >= distance[x_t, x_t][:, None]] == 0).all()
    assert (u[x_t, x_t] == 0).all()
    assert (u[5] == 0).all()
    np.testing.assert_allclose(
        u.sum(axis=1, dtype=np.float64),
        intensity(x_t, x_1, t, path.metric, path.schedule),
        rtol=1e-5,
    )


def test_columns_of_the_generator_sum_to_0() -> None:
    for table in (random_table(3, 32), tied_table(3, 32)):
        q = generator(MetricPath(table, SCHEDULE), 9, 0.4)
        np.testing.assert_allclose(q.sum(axis=0), 0.0, atol=1e-12 * np.abs(q).max())
        assert (q - np.diag(np.diag(q)) >= 0).all()


def test_nothing_flows_at_0_and_everything_is_finite_at_1() -> None:
    path, x_t, x_1 = MetricPath(tied_table(4, 20), SCHEDULE), np.arange(20), np.full(20, 8)
    assert (velocity(x_t, x_1, 0.0, path.metric, path.schedule) == 0).all()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for t in (1.0 - 1e-6, 1.0 - 1e-15, 1.0):
            assert np.isfinite(intensity(x_t, x_1, t, path.metric, path.schedule)).all()


def test_ids_outside_the_vocabulary_are_refused() -> None:
    path = MetricPath(random_table(5, 4), SCHEDULE)
    for function in (velocity, intensity):
        with pytest.raises(InputError, match="x_t: ids -1 to 2, expected 0 to 3"):
            function(np.array([-1, 2]), np.array([0, 0]), 0.5, path.metric, path.schedule)
