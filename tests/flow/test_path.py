from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import InputError
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.schedule import MetricSchedule
from tests.flow import reference
from tests.flow.tables import random_table, tried

SCHEDULE = MetricSchedule()


@tried
@given(seed=st.integers(0, 999), vocabulary=st.integers(1, 20), t=st.floats(0.0, 0.999))
def test_distance_and_probability_are_those_of_the_formulas(
    seed: int, vocabulary: int, t: float
) -> None:
    table = random_table(seed, vocabulary)
    path, x_1 = MetricPath(table, SCHEDULE), np.arange(vocabulary)
    distance, probability = path.metric.distance(x_1), path.probability(x_1, t)
    assert distance.dtype == probability.dtype == np.float32
    for symbol in range(vocabulary):
        d = reference.distances(table, symbol)
        np.testing.assert_allclose(distance[symbol], d, rtol=2e-6, atol=1e-12)
        np.testing.assert_allclose(
            probability[symbol], reference.probability(d, reference.beta(t)), rtol=1e-3, atol=1e-6
        )
    np.testing.assert_allclose(np.exp(path.log_probability(x_1, t)), probability, atol=1e-6)


def test_rows_are_normalised_and_a_zero_row_is_one_away_from_every_other() -> None:
    table = random_table(1, 12)
    table[5] = 0
    distance = MetricPath(table, SCHEDULE).metric.distance(np.arange(12))
    np.testing.assert_allclose(
        distance, MetricPath(table * 7.5, SCHEDULE).metric.distance(np.arange(12)), rtol=2e-6
    )
    np.testing.assert_allclose(np.delete(distance[5], 5), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(np.diag(distance), 0.0)
    opposite = MetricPath(np.array([[1.0, 0.0], [-3.0, 0.0]], dtype=np.float32), SCHEDULE)
    assert opposite.metric.distance(np.array([0]))[0, 1] == 16.0


def test_at_0_every_symbol_is_as_likely_and_at_1_all_mass_is_at_distance_0() -> None:
    table = random_table(2, 10)
    table[7] = table[3] * 2  # the same direction: a tie at distance 0
    path, x_1 = MetricPath(table, SCHEDULE), np.arange(10)
    np.testing.assert_array_equal(path.probability(x_1, 0.0), np.float32(0.1))
    certain = np.eye(10, dtype=np.float32)
    certain[3, [3, 7]] = certain[7, [3, 7]] = 0.5
    for t in (1.0, 1.0 - 1e-12):
        np.testing.assert_array_equal(path.probability(x_1, t), certain)
        assert np.isfinite(path.log_probability(x_1, t)).all()


def test_an_array_of_times_serves_each_row_its_own() -> None:
    path, x_1, times = (
        MetricPath(random_table(3, 9), SCHEDULE),
        np.arange(9),
        np.linspace(0.0, 1.0, 9),
    )
    together, uniform = path.probability(x_1, times), Noise(3).uniform(0, 0, Use.START, 9)[:, 0]
    drawn = path.corrupt(x_1, times, uniform)
    for row, t in enumerate(times):
        np.testing.assert_array_equal(
            together[row], path.probability(x_1[row : row + 1], float(t))[0]
        )
        assert drawn[row] == path.corrupt(x_1[row : row + 1], float(t), uniform[row : row + 1])[0]


@pytest.mark.parametrize("t", [0.0, 0.1, 0.5, 0.9])
def test_samples_follow_p_t(t: float) -> None:
    table, draws, x_1 = random_table(4, 16), 100_000, 6
    uniform = Noise(4).uniform(0, int(t * 10), Use.START, draws)[:, 0]
    x_t = MetricPath(table, SCHEDULE).corrupt(np.full(draws, x_1), t, uniform)
    expected = reference.probability(reference.distances(table, x_1), reference.beta(t))
    assert reference.total_variation(
        np.bincount(x_t, minlength=16) / draws, expected
    ) < reference.sampling_bound(16, draws)


def test_every_codebook_has_a_path_of_its_own() -> None:
    codebooks, entries, draws, t = 4, 8, 50_000, 0.5
    tables = np.stack([random_table(10 + k, entries) for k in range(codebooks)])
    uniform = Noise(5).uniform(0, 0, Use.START, draws, codebooks)
    bound = reference.sampling_bound(entries, draws)
    laws = [
        reference.probability(reference.distances(table, 2), reference.beta(t)) for table in tables
    ]
    for k in range(codebooks):
        codes = MetricPath(tables[k], SCHEDULE).corrupt(np.full(draws, 2), t, uniform[:, k])
        drawn = np.bincount(codes, minlength=entries) / draws
        assert [reference.total_variation(drawn, law) < bound for law in laws] == [
            other == k for other in range(codebooks)
        ]


@pytest.mark.parametrize("t", [0.0, 0.4, 0.97, 1.0])
def test_rows_do_not_depend_on_their_neighbours_or_on_the_chunks(
    t: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, x_1 = MetricPath(random_table(6, 40, dimensions=13), SCHEDULE), np.arange(40)
    whole, ids = path.probability(x_1, t), path.corrupt(x_1, t, np.linspace(0, 0.999, 40))
    monkeypatch.setattr("nextomni_edge.flow.arrays.CHUNK", 64)
    np.testing.assert_array_equal(path.probability(x_1, t), whole)
    np.testing.assert_array_equal(path.corrupt(x_1, t, np.linspace(0, 0.999, 40)), ids)
    np.testing.assert_array_equal(path.probability(x_1[7:8], t)[0], whole[7])


@pytest.mark.parametrize(
    "largest", [1.0 - 2.0**-53, float(np.float32(1.0 - 2.0**-53))], ids=["float64", "rounded to 1"]
)
def test_the_largest_uniform_gives_the_last_symbol_that_has_mass(largest: float) -> None:
    uniform, path = np.full(6, largest), MetricPath(np.eye(6, dtype=np.float32), SCHEDULE)
    np.testing.assert_array_equal(path.corrupt(np.arange(6), 0.0, uniform), 5)
    np.testing.assert_array_equal(path.corrupt(np.arange(6), 1.0, uniform), np.arange(6))
    np.testing.assert_array_equal(path.corrupt(np.arange(6), 1.0, np.zeros(6)), np.arange(6))


@pytest.mark.parametrize("ids", [[0, -1], [4, 0]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    path = MetricPath(random_table(7, 4), SCHEDULE)
    with pytest.raises(InputError, match="expected 0 to 3"):
        path.metric.distance(np.array(ids))


def test_tables_and_times_of_a_wrong_shape_are_refused() -> None:
    for shape in ((4,), (2, 3, 4), (0, 4), (4, 0)):
        with pytest.raises(InputError, match="metric table: shape"):
            MetricPath(np.zeros(shape, dtype=np.float32), SCHEDULE)
    with pytest.raises(InputError, match="not finite"):
        MetricPath(np.array([[1.0, np.nan]], dtype=np.float32), SCHEDULE)
    with pytest.raises(InputError, match="one time per row"):
        MetricPath(random_table(8, 4), SCHEDULE).probability(np.arange(4), np.array([0.1, 0.2]))
