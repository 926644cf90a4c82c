"""GPTQ against what it is defined by: the error in the Hessian's norm, on data made to be
correlated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextomni_edge.calibration.layers import Float
from nextomni_edge.calibration.recipes.gptq import Float64, gptq, inverse_factor, row_error, values
from nextomni_edge.calibration.recipes.int4 import round_blocks
from nextomni_edge.errors import InputError


def layer(
    seed: int, rows: int = 24, columns: int = 96, samples: int = 400, outliers: int = 2
) -> tuple[Float, Float64]:
    """A weight, and the Hessian of inputs that share directions, a few of them loud."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((samples, columns // 3)) @ generator.standard_normal(
        (columns // 3, columns)
    )
    x += 0.1 * generator.standard_normal(x.shape)
    x[:, generator.choice(columns, outliers, replace=False)] *= 30
    weight = generator.standard_normal((rows, columns)).astype(np.float32)
    return weight, x.T @ x / samples


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.integers(3, 100),
    samples=st.integers(1, 200),
    block_size=st.sampled_from([32, 64, 128]),
    bits=st.sampled_from([4, 8]),
    symmetric=st.booleans(),
)
def test_the_error_is_never_above_rounding_to_nearest(
    seed: int, columns: int, samples: int, block_size: int, bits: int, symmetric: bool
) -> None:
    weight, hessian = layer(seed, 8, columns, samples, outliers=min(2, columns))
    nearest = row_error(weight, round_blocks(weight, block_size, bits, symmetric), hessian)
    ours = row_error(weight, gptq(weight, hessian, block_size, bits, symmetric), hessian)
    assert (ours <= nearest).all()


@pytest.mark.parametrize("symmetric", [True, False])
def test_correlated_inputs_are_rounded_far_better(symmetric: bool) -> None:
    shares = []
    for seed in range(5):
        weight, hessian = layer(seed)
        nearest = row_error(weight, round_blocks(weight, 32, 4, symmetric), hessian).sum()
        shares.append(
            row_error(weight, gptq(weight, hessian, 32, 4, symmetric), hessian).sum() / nearest
        )
    assert np.median(shares) < 0.5


@pytest.mark.parametrize(
    ("columns", "symmetric"), [(96, True), (96, False), (50, True), (50, False)]
)
def test_a_diagonal_hessian_gives_rounding_to_nearest(columns: int, symmetric: bool) -> None:
    weight, hessian = layer(0, columns=columns)
    found = gptq(weight, np.diag(np.diag(hessian)), 32, 4, symmetric)
    for ours, theirs in zip(found, round_blocks(weight, 32, 4, symmetric), strict=True):
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_weight_on_the_grid_stays_exactly_what_it_is(symmetric: bool) -> None:
    weight, hessian = layer(1)
    on_grid = values(round_blocks(weight, 32, 4, symmetric), weight.shape[1]).astype(np.float32)
    assert np.array_equal(
        values(gptq(on_grid, hessian, 32, 4, symmetric), weight.shape[1]), on_grid
    )


def test_the_columns_of_one_block_and_those_after_it_take_the_error_back_alike() -> None:
    """With one block as wide as the weight the lazy update of later blocks is never taken: both
    must follow the definition."""
    weight, hessian = layer(2, columns=64)
    factor, left = inverse_factor(hessian), weight.astype(np.float64)
    q, scale, zero = gptq(weight, hessian, 32, 8, symmetric=True)
    better = row_error(weight, (q, scale, zero), hessian) < row_error(
        weight, round_blocks(weight, 32, 8, True), hessian
    )
    for i in range(64):
        block = i // 32
        rounded = np.clip(np.rint(left[:, i] / scale[:, block]) + zero[:, block], 0, 255)
        assert np.array_equal(rounded[better], q[better, block, i % 32])
        error = (
            left[:, i] - (rounded - zero[:, block]) * scale[:, block].astype(np.float64)
        ) / factor[i, i]
        left[:, i + 1 :] -= error[:, None] * factor[i, i + 1 :]
    assert better.any()


def test_the_factor_is_that_of_the_damped_inverse() -> None:
    _, hessian = layer(3)
    damped = hessian + 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    factor = inverse_factor(hessian)
    assert np.allclose(factor, np.triu(factor)) and np.allclose(
        factor.T @ factor @ damped, np.eye(len(hessian)), atol=1e-8
    )


def test_an_input_that_was_never_there_is_rounded_to_nearest() -> None:
    weight, hessian = layer(4)
    hessian[:, 7] = hessian[7] = 0.0
    alone = gptq(weight, hessian, 32)
    assert np.isfinite(values(alone, 96)).all()
    assert (
        gptq(weight, np.zeros_like(hessian), 32)[0] == round_blocks(weight, 32, 4, True)[0]
    ).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: h[:-1], "Hessian of shape (95, 96), expected (96, 96)"),
        (lambda h: np.where(np.eye(96), np.nan, h), "not finite"),
        (lambda h: -h, "no sum of x·xᵀ"),
        (lambda h: np.triu(h), "no sum of x·xᵀ"),
    ],
)
def test_what_is_no_hessian_is_refused(spoil: object, message: str) -> None:
    weight, hessian = layer(5)
    with pytest.raises(InputError) as raised:
        gptq(weight, spoil(hessian), 32)  # type: ignore[operator]
    assert message in str(raised.value)
