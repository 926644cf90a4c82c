"""The mixture path: its marginals, its exact jumps, and simulated chains of both sources."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.config import PathConfig
from nextomni_edge.decoding import CommitConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.mixture import Kappa, MixturePath, MixtureSchedule
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.path import paths_of, steppers_of
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


def moved(path: MixturePath, x_t: Any, x_1: Any, t: float, h: float, uniform: Any) -> Any:
    return path.step(x_t, x_1, t, h, uniform, uniform)


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
        path.probability(t, h * split),
        path.probability(t + h * split, h * (1 - split)),
    )
    assert 1 - (1 - first) * (1 - second) == pytest.approx(path.probability(t, h), abs=1e-9)


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
        x_t = moved(path, x_t, x_1, t, then - t, draws(step, Use.JUMP))
        t, kappa = then, float(schedule.kappa(then))
        stray = 0.0 if mask is not None else (1.0 - kappa) / VOCABULARY
        share, deviation = (x_t == x_1).mean(), math.sqrt(0.25 / ROWS)
        assert abs(share - (kappa + stray)) < 5 * deviation
    assert (moved(path, x_t, x_1, t, 1.0 - t, draws(9, Use.JUMP)) == x_1).all()


@pytest.mark.parametrize("mask", [MASK, None], ids=["mask", "uniform"])
def test_corruption_has_the_marginals_of_the_path(mask: int | None) -> None:
    path, x_1 = MixturePath(VOCABULARY, MixtureSchedule(), mask), np.zeros(ROWS, np.int64)
    x_t = path.corrupt(x_1, 0.3, draws(0, Use.JUMP))
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
        x_next = path.step(x_t, x_1, step / steps, 1 / steps, u, u, step == steps - 1)
        assert (x_next == x_t)[x_t != MASK].all()
        np.testing.assert_array_equal(x_next[x_t == MASK] == MASK, (x_next == MASK)[x_t == MASK])
        torched = [torch.tensor(array) for array in (x_t, x_1, u)]
        theirs = path.step(
            torched[0], torched[1], step / steps, 1 / steps, torched[2], torched[2],
            step == steps - 1,
        )  # fmt: skip
        np.testing.assert_array_equal(theirs.numpy(), x_next)
        x_t = x_next
    assert (x_t != MASK).all()


def test_what_cannot_be_meant_is_refused() -> None:
    path, rows = MixturePath(4, MixtureSchedule(), 4), np.zeros(3, np.int64)
    with pytest.raises(UsageError, match=r"^schedule: shift is 0.0, expected a positive"):
        MixtureSchedule("shifted", 0.0)
    with pytest.raises(UsageError, match=r"^schedule: time 1.5, expected 0 to 1$"):
        path.schedule.kappa(1.5)
    with pytest.raises(UsageError, match=r"^step: from t = 0.5 by h = 0.7, expected"):
        moved(path, rows, rows, 0.5, 0.7, np.zeros(3))
    with pytest.raises(InputError, match=r"^uniform_jump: shape \(2,\), expected x_t's \(3,\)$"):
        moved(path, rows, rows, 0.5, 0.1, np.zeros(2))
    with pytest.raises(InputError, match=r"^x_1: ids 0 to 4, expected 0 to 3$"):
        moved(path, rows, np.array([0, 4, 1]), 0.5, 0.1, np.zeros(3))
    with pytest.raises(UsageError, match=r"^stepper 'euler': the mixture path has jump$"):
        path.ruled("euler")
    with pytest.raises(UsageError, match=r"^mixture path: 0 symbols"):
        MixturePath(0, MixtureSchedule())


def test_the_config_says_which_path_it_is() -> None:
    settings = PathConfig(kind="mixture", mask=3, kappa="shifted", shift=0.5)
    (path,) = paths_of(settings, 1, 9, lambda: None)
    assert isinstance(path, MixturePath)
    assert (path.mask, path.schedule) == (3, MixtureSchedule("shifted", 0.5))
    (behind,) = paths_of(PathConfig(kind="mixture"), 1, 9, lambda: None)
    assert isinstance(behind, MixturePath)
    assert behind.mask == 9
    (uniform,) = paths_of(PathConfig(kind="mixture", source="uniform"), 1, 9, lambda: None)
    assert isinstance(uniform, MixturePath)
    assert uniform.mask is None
    assert steppers_of(settings) == ("jump",)
    commit = PathConfig(kind="mixture", commit=CommitConfig())
    assert steppers_of(commit) == ("commit", "jump")


@tried
@given(seed=st.integers(0, 2**32), mask=st.sampled_from([MASK, None]), greedy=st.booleans())
def test_what_is_settled_never_moves_and_what_may_not_jump_stays(
    seed: int, mask: int | None, greedy: bool
) -> None:
    path, generator = MixturePath(VOCABULARY, MixtureSchedule(), mask), np.random.default_rng(seed)
    x_t, x_1 = generator.integers(0, VOCABULARY, (2, 50))
    if mask is not None:
        x_t[generator.random(50) < 0.5] = mask
    u = generator.random(50)
    x_next = moved(path, x_t, x_1, 0.2, 0.5, u)
    assert (x_next == x_t)[path.settled(x_t, x_1, greedy)].all()
    assert (x_next == x_t)[~path.may_jump(x_t, x_1, 0.2, 0.5, u)].all()
    assert not path.idle(0.2, 0.5)
