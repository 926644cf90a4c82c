from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.schedule import MetricSchedule
from tests.flow.tables import tried

constants = st.floats(0.05, 10.0)


def test_published_constants_give_the_published_values() -> None:
    beta, d_beta = MetricSchedule(3.0, 0.9)(0.5)
    assert beta == 3.0  # t/(1−t) = 1
    assert d_beta == pytest.approx(3.0 * 0.9 * 4.0)


@tried
@given(c=constants, a=constants, t=st.floats(0.01, 0.99))
def test_the_derivative_is_that_of_beta(c: float, a: float, t: float) -> None:
    schedule, h = MetricSchedule(c, a), 1e-6
    difference = (schedule(t + h)[0] - schedule(t - h)[0]) / (2 * h)
    assert schedule(t)[1] == pytest.approx(difference, rel=1e-5)


@tried
@given(c=constants, a=constants, times=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5))
def test_an_array_of_times_gives_what_each_time_gives(
    c: float, a: float, times: list[float]
) -> None:
    schedule = MetricSchedule(c, a)
    one_by_one = [schedule(t)[0] for t in times]
    np.testing.assert_allclose(schedule.beta(np.array(times)), one_by_one, rtol=1e-14)
    np.testing.assert_allclose(
        schedule.beta(torch.tensor(times, dtype=torch.float64)).numpy(), one_by_one, rtol=1e-14
    )


def test_the_ends_of_time() -> None:
    for a in (0.5, 0.9, 1.0, 2.0):
        assert MetricSchedule(3.0, a)(0.0) == (0.0, 0.0)
        assert MetricSchedule(3.0, a)(1.0) == (math.inf, math.inf)


@pytest.mark.parametrize("t", [-0.1, 1.1, math.nan])
def test_a_time_outside_0_to_1_is_refused(t: float) -> None:
    with pytest.raises(UsageError, match="expected 0 to 1"):
        MetricSchedule()(t)
    with pytest.raises(UsageError, match="expected 0 to 1"):
        MetricSchedule().beta(np.array([0.5, t]))


@pytest.mark.parametrize("constant", [0.0, -1.0, math.inf, math.nan])
def test_constants_that_make_no_schedule_are_refused(constant: float) -> None:
    with pytest.raises(UsageError, match="schedule: c is"):
        MetricSchedule(c=constant)
    with pytest.raises(UsageError, match="schedule: a is"):
        MetricSchedule(a=constant)
