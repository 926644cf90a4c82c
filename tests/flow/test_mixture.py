"""The mixture path: its marginals, its exact jumps, and simulated chains of both sources."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.mixture import Kappa, MixturePath, MixtureSchedule
from nextomni_edge.flow.noise import Noise, Use
from tests.flow.tables import tried

ROWS, VOCABULARY, MASK = 40_000, 7, 7
SCHEDULES = [
    MixtureSchedule(),
    MixtureSchedule("cosine"),
    MixtureSchedule("shifted", 0.1),
    MixtureSchedule("shifted", 4.0),
]
kinds = st.sampled_from(["linear", "cosine", "shifted"])


def draws(step: int, use: Use) -> np.ndarray:
    return Noise(11).uniform(0, step, use, ROWS)[:, 0]


@tried
@given(kind=kinds, shift=st.floats(0.05, 20.0), a=st.floats(0.0, 1.0), b=st.floats(0.0, 1.0))
def test_kappa_rises_from_0_to_1(kind: Kappa, shift: float, a: float, b: float) -> None:
    schedule, (low, high) = MixtureSchedule(kind, shift), sorted((a, b))
    assert schedule.kappa(0.0) == 0.0
    assert schedule.kappa(1.0) == 1.0
    assert 0.0 <= schedule.kappa(low) <= schedule.kappa(high) <= 1.0
    both = np.array([low, high])
    np.testing.assert_allclose(
        schedule.kappa(both), [schedule.kappa(low), schedule.kappa(high)], rtol=1e-12
    )
    np.testing.assert_allclose(schedule.kappa(torch.tensor(both)).numpy(), schedule.kappa(both))


@tried
@given(kind=kinds, shift=st.floats(0.1, 10.0), t=st.floats(0.01, 0.98))
def test_the_slope_is_the_derivative(kind: Kappa, shift: float, t: float) -> None:
    schedule, h = MixtureSchedule(kind, shift), 1e-6
    measured = (schedule.kappa(t + h) - schedule.kappa(t - h)) / (2 * h)
    assert schedule.slope(t) == pytest.approx(measured, rel=1e-4)


@tried
@given(kind=kinds, shift=st.floats(0.1, 10.0), t=st.floats(0.0, 0.9), split=st.floats(0.05, 0.95))
def test_jumps_of_two_steps_are_those_of_their_sum(
    kind: Kappa, shift: float, t: float, split: float
) -> None:
    path, h = MixturePath(VOCABULARY, MixtureSchedule(kind, shift), MASK), (1.0 - t) / 2
    first, second = (
        path.jump_probability(t, h * split),
        path.jump_probability(t + h * split, h * (1 - split)),
    )
    assert 1 - (1 - first) * (1 - second) == pytest.approx(path.jump_probability(t, h), abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("mask", [MASK, None], ids=["mask", "uniform"])
def test_a_simulated_chain_has_the_marginals_of_the_path(
    schedule: MixtureSchedule, mask: int | None
) -> None:
    """Steps of any size: with x_1 known there is no discretisation error."""
    path = MixturePath(VOCABULARY, schedule, mask)
    x_1 = np.arange(ROWS) % VOCABULARY
    x_t, t = path.start(draws(0, Use.START)), 0.0
    for step, then in enumerate((0.1, 0.35, 0.8)):
        x_t = path.step(x_t, x_1, t, then - t, draws(step, Use.JUMP))
        t, kappa = then, float(schedule.kappa(then))
        stray = 0.0 if mask is not None else (1.0 - kappa) / VOCABULARY
        share, deviation = (x_t == x_1).mean(), math.sqrt(0.25 / ROWS)
        assert abs(share - (kappa + stray)) < 5 * deviation
    assert (path.step(x_t, x_1, t, 1.0 - t, draws(9, Use.JUMP)) == x_1).all()


@pytest.mark.parametrize("mask", [MASK, None], ids=["mask", "uniform"])
def test_corruption_has_the_marginals_of_the_path(mask: int | None) -> None:
    path, x_1 = MixturePath(VOCABULARY, MixtureSchedule(), mask), np.zeros(ROWS, np.int64)
    x_t = path.corrupt(x_1, 0.3, draws(0, Use.JUMP), draws(0, Use.START))
    symbols = np.bincount(x_t, minlength=VOCABULARY + 1) / ROWS
    if mask is not None:
        assert symbols[0] + symbols[MASK] == 1.0
        assert abs(symbols[0] - 0.3) < 0.015
    else:
        assert symbols[MASK] == 0.0
        assert np.abs(symbols[1:MASK] - 0.1).max() < 0.01


@tried
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 9))
def test_a_token_leaves_the_mask_once_and_stays(seed: int, steps: int) -> None:
    path, noise = MixturePath(VOCABULARY, MixtureSchedule(), MASK), Noise(seed)
    x_t = path.start(noise.uniform(0, 0, Use.START, 30)[:, 0])
    generator = np.random.default_rng(seed)
    for step in range(steps):
        x_1 = generator.integers(0, VOCABULARY, 30)
        u = noise.uniform(0, step, Use.JUMP, 30)[:, 0]
        x_next = path.step(x_t, x_1, step / steps, 1 / steps, u, step == steps - 1)
        assert (x_next == x_t)[x_t != MASK].all()
        np.testing.assert_array_equal(x_next[x_t == MASK] == MASK, (x_next == MASK)[x_t == MASK])
        ours, theirs = x_next, path.step(
            torch.tensor(x_t), torch.tensor(x_1), step / steps, 1 / steps, torch.tensor(u),
            step == steps - 1,
        )  # fmt: skip
        np.testing.assert_array_equal(theirs.numpy(), ours)
        x_t = x_next
    assert (x_t != MASK).all()


def test_what_cannot_be_meant_is_refused() -> None:
    path, rows = MixturePath(4, MixtureSchedule(), 4), np.zeros(3, np.int64)
    with pytest.raises(UsageError, match=r"^schedule: shift is 0.0, expected a positive"):
        MixtureSchedule("shifted", 0.0)
    with pytest.raises(UsageError, match=r"^schedule: time 1.5, expected 0 to 1$"):
        path.schedule.kappa(1.5)
    with pytest.raises(UsageError, match=r"^step: from t = 0.5 by h = 0.7, expected"):
        path.step(rows, rows, 0.5, 0.7, np.zeros(3))
    with pytest.raises(InputError, match=r"^uniform: shape \(2,\), expected \(3,\), one a row$"):
        path.step(rows, rows, 0.5, 0.1, np.zeros(2))
    with pytest.raises(UsageError, match=r"^mixture path: 0 symbols"):
        MixturePath(0, MixtureSchedule())
