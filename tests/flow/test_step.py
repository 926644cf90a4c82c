from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.schedule import MetricSchedule, grid
from tests.flow import reference
from tests.flow.tables import STEPS, Step, random_table, tied_table, tried

SCHEDULE = MetricSchedule()
rules = pytest.mark.parametrize("rule", STEPS.values(), ids=STEPS)


def uniforms(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    noise = Noise(seed)
    return noise.uniform(0, 0, Use.JUMP, rows)[:, 0], noise.uniform(0, 0, Use.TARGET, rows)[:, 0]


def test_the_grid_has_n_steps_for_every_n_and_ends_at_1() -> None:
    for n in (1, 49, 50, 98, 103, 1000):
        times = grid(n)
        assert (len(times), times[0], times[-1]) == (n + 1, 0.0, 1.0)
    for n in (0, -1, 2.0, True):
        with pytest.raises(UsageError, match="expected a whole number of at least 1"):
            grid(n)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("t", "h"), [(0.0, 0.1), (0.3, 0.05), (0.6, 0.1), (0.9, 0.09)])
def test_one_step_follows_the_transition_law(name: str, t: float, h: float) -> None:
    symbols, draws, x_1 = 8, 15_000, 2
    for table in (random_table(1, symbols), tied_table(9, symbols)):
        path = MetricPath(table, SCHEDULE)
        law = reference.transition(reference.distances(table, x_1), t, h, name)
        jump, target = uniforms(round(t * 100), symbols * draws)
        x_t = np.repeat(np.arange(symbols), draws)
        x_next = STEPS[name](x_t, np.full(x_t.shape, x_1), t, h, path, jump, target, False)
        for z in range(symbols):
            drawn = np.bincount(x_next[x_t == z], minlength=symbols) / draws
            assert reference.total_variation(drawn, law[:, z]) < reference.sampling_bound(
                symbols, draws
            )


@rules
@tried
@given(seed=st.integers(0, 999), tied=st.booleans(), n=st.integers(1, 64), data=st.data())
def test_a_step_moves_toward_x_1_or_not_at_all(
    rule: Step, seed: int, tied: bool, n: int, data: st.DataObject
) -> None:
    table = tied_table(seed, 16) if tied else random_table(seed, 16)
    path, rng, i = (
        MetricPath(table, SCHEDULE),
        np.random.default_rng(seed),
        data.draw(st.integers(0, n - 1)),
    )
    x_t, x_1 = rng.integers(0, 16, 64), rng.integers(0, 16, 64)
    given_x_t, given_x_1 = x_t.copy(), x_1.copy()
    x_next = rule(x_t, x_1, i / n, 1 / n, path, *uniforms(seed, 64), False)
    distance = path.metric.distance(x_1)
    before, after = (np.take_along_axis(distance, ids[:, None], axis=1) for ids in (x_t, x_next))
    assert x_next.dtype == np.int64
    assert ((after < before)[:, 0] | (x_next == x_t)).all()
    np.testing.assert_array_equal(x_t, given_x_t)
    np.testing.assert_array_equal(x_1, given_x_1)


@rules
def test_the_last_step_gives_x_1(rule: Step) -> None:
    path, x_1 = MetricPath(tied_table(2, 16), SCHEDULE), np.arange(16)
    for n in (1, 49, 64):
        x_next = rule(
            x_1[::-1].copy(), x_1, (n - 1) / n, 1 / n, path, np.ones(16), np.zeros(16), True
        )
        np.testing.assert_array_equal(x_next, x_1)
        assert x_next is not x_1


def test_nothing_jumps_in_the_first_euler_step_whatever_the_noise() -> None:
    path, x_t = MetricPath(random_table(3, 16), SCHEDULE), np.arange(16)
    x_next = STEPS["euler"](
        x_t, x_t[::-1].copy(), 0.0, 0.9, path, np.zeros(16), np.zeros(16), False
    )
    np.testing.assert_array_equal(x_next, x_t)
    assert x_next is not x_t
    moved = STEPS["corrected"](
        x_t, x_t[::-1].copy(), 0.0, 0.9, path, np.zeros(16), np.zeros(16), False
    )
    assert (moved != x_t).any()


@rules
def test_near_1_nothing_is_nan_and_every_symbol_but_a_tie_of_x_1_has_left(rule: Step) -> None:
    table = tied_table(4, 16)
    path, (x_t, x_1) = MetricPath(table, SCHEDULE), np.divmod(np.arange(256), 16)
    h = 1e-9
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        x_next = rule(x_t, x_1, 1.0 - h, h, path, np.full(256, 0.999), np.full(256, 0.999), False)
    distance = path.metric.distance(x_1)
    np.testing.assert_array_equal(np.take_along_axis(distance, x_next[:, None], axis=1), 0.0)


@rules
def test_a_tie_of_x_1_never_jumps(rule: Step) -> None:
    table = np.repeat(random_table(5, 4), 2, axis=0)
    path, x_t = MetricPath(table, SCHEDULE), np.array([1, 3, 5, 7])
    np.testing.assert_array_equal(
        rule(x_t, x_t - 1, 0.9, 0.05, path, np.zeros(4), np.zeros(4), False), x_t
    )


@rules
def test_rows_do_not_depend_on_their_neighbours_or_on_the_chunks(
    rule: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rng = MetricPath(random_table(6, 40, dimensions=13), SCHEDULE), np.random.default_rng(6)
    x_t, x_1, (jump, target) = rng.integers(0, 40, 200), rng.integers(0, 40, 200), uniforms(6, 200)
    together = rule(x_t, x_1, 0.5, 0.05, path, jump, target, False)
    assert 20 < (together != x_t).sum() < 180
    monkeypatch.setattr("nextomni_edge.flow.arrays.CHUNK", 100)
    np.testing.assert_array_equal(rule(x_t, x_1, 0.5, 0.05, path, jump, target, False), together)
    alone = [
        rule(
            x_t[i : i + 1],
            x_1[i : i + 1],
            0.5,
            0.05,
            path,
            jump[i : i + 1],
            target[i : i + 1],
            False,
        )[0]
        for i in range(200)
    ]
    np.testing.assert_array_equal(alone, together)


def test_the_comparison_is_strict() -> None:
    # d = 4: lambda = h·d_beta·4/(1 + exp(−4·beta))
    table = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    path, one = MetricPath(table, SCHEDULE), np.array([1])
    beta, d_beta = SCHEDULE(0.5)
    probability = -np.expm1(-0.01 * d_beta * 4.0 / (1.0 + np.exp(-4.0 * beta)))
    for uniform, stays in (
        (probability * (1 - 1e-12), False),
        (probability * (1 + 1e-12), True),
        (1.0 - 2.0**-53, True),
    ):
        x_next = STEPS["euler"](
            one, np.array([0]), 0.5, 0.01, path, np.array([uniform]), np.array([0.3]), False
        )
        assert (x_next[0] == 1) == stays
    # d = 0 gives probability 0, and 0 < 0 is false
    assert (
        STEPS["euler"](
            one, np.array([1]), 0.5, 0.01, path, np.array([0.0]), np.array([0.0]), False
        )[0]
        == 1
    )


@rules
def test_what_cannot_be_a_step_is_refused(rule: Step) -> None:
    path, ids, half = MetricPath(random_table(7, 4), SCHEDULE), np.arange(4), np.full(4, 0.5)
    for t, h in ((-0.1, 0.1), (0.5, 0.0), (0.5, -0.1), (0.9, 0.2), (1.0, 0.1), (np.nan, 0.1)):
        with pytest.raises(UsageError, match="expected 0 <= t < t \\+ h <= 1"):
            rule(ids, ids, t, h, path, half, half, False)
    with pytest.raises(InputError, match="x_1: ids 0 to 4, expected 0 to 3"):
        rule(ids, np.array([0, 1, 2, 4]), 0.5, 0.1, path, half, half, False)
    with pytest.raises(InputError, match="x_t: ids -1 to 2, expected 0 to 3"):
        rule(ids - 1, ids, 0.5, 0.1, path, half, half, False)
    with pytest.raises(InputError, match="uniform_target: shape \\(3,\\), expected x_t's \\(4,\\)"):
        rule(ids, ids, 0.5, 0.1, path, half, half[:3], False)
    empty = np.zeros(0, dtype=np.int64)
    assert rule(empty, empty, 0.5, 0.1, path, half[:0], half[:0], False).shape == (0,)
