"""AWQ's smoothing: never worse than none, and much better where a few channels are loud."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextomni_edge.calibration.layers import Float
from nextomni_edge.calibration.recipes.awq import awq_smoothing, smoothed_error
from nextomni_edge.calibration.recipes.gptq import Float64
from nextomni_edge.errors import InputError


def layer(seed: int, columns: int = 96, loud: int = 3) -> tuple[Float, Float64, Float64]:
    """A weight, and of inputs with loud channels the Hessian and the mean magnitudes."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((300, columns))
    x[:, generator.choice(columns, min(loud, columns), replace=False)] *= 40
    weight = generator.standard_normal((16, columns)).astype(np.float32)
    return weight, x.T @ x / len(x), np.abs(x).mean(axis=0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.integers(2, 100),
    loud=st.integers(0, 5),
    symmetric=st.booleans(),
)
def test_the_error_is_never_above_rounding_to_nearest(
    seed: int, columns: int, loud: int, symmetric: bool
) -> None:
    weight, hessian, absmean = layer(seed, columns, loud)
    smoothing = awq_smoothing(weight, hessian, absmean, 32, symmetric=symmetric)
    assert smoothing.shape == (columns,) and smoothing.dtype == np.float32 and (smoothing > 0).all()
    ones = np.ones(columns, np.float32)
    ours, nearest = (
        smoothed_error(weight, s, hessian, 32, 4, symmetric) for s in (smoothing, ones)
    )
    assert ours <= nearest


def test_loud_channels_are_rounded_finely() -> None:
    weight, hessian, absmean = layer(0)
    smoothing = awq_smoothing(weight, hessian, absmean, 32)
    loud = absmean > 10
    assert smoothing[loud].max() < smoothing[~loud].min()
    ones = np.ones(96, np.float32)
    ours, nearest = (smoothed_error(weight, s, hessian, 32, 4, True) for s in (smoothing, ones))
    assert ours < 0.25 * nearest


def test_alike_channels_need_no_smoothing() -> None:
    weight, _, _ = layer(1)
    assert (awq_smoothing(weight, np.eye(96), np.ones(96), 32) == 1).all()
    assert (awq_smoothing(weight, np.zeros((96, 96)), np.zeros(96), 32) == 1).all()


@pytest.mark.parametrize("absmean", [np.ones(95), np.full(96, np.nan), -np.ones(96)])
def test_what_are_no_mean_magnitudes_is_refused(absmean: Float64) -> None:
    weight, hessian, _ = layer(2)
    with pytest.raises(InputError, match="mean magnitudes of shape"):
        awq_smoothing(weight, hessian, absmean, 32)
