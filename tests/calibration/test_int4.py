"""INT4 arrays: the bound of rounding to nearest, the scales' own rounding, blocks that do not fill
up, and weights in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.quantised import dequantise
from nextomni_edge.calibration.layers import Operator, weight_of
from nextomni_edge.calibration.recipes.int4 import quantise_blocks, round_blocks, rounded_scale
from nextomni_edge.calibration.recipes.int8 import quantise_channels
from nextomni_edge.errors import InputError
from tests.calibration import one_layer


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("columns", [64, 50, 33])
def test_every_value_is_within_half_a_step(symmetric: bool, columns: int) -> None:
    matrix = np.random.default_rng(0).standard_normal((20, columns), np.float32)
    q, scale, zero = round_blocks(matrix, 32, 4, symmetric)
    found = ((q - zero[..., None].astype(np.float32)) * scale[..., None]).reshape(20, -1)[
        :, :columns
    ]
    step, inside = np.repeat(np.abs(scale), 32, axis=1)[:, :columns], q.reshape(20, -1)[:, :columns]
    away = np.abs(found - matrix) / step
    assert away[(inside > 0) & (inside < 15)].max(initial=0.0) <= 0.501
    assert away.max() <= 1.001  # where the range ends


def test_the_largest_magnitude_of_a_symmetric_block_is_exact_but_for_the_scales_rounding() -> None:
    matrix = np.array([[0.1] * 31 + [-3.0], [0.1] * 31 + [3.0]], np.float32)
    q, scale, _ = round_blocks(matrix, 32, 4, True)
    assert np.array_equal(q[:, 0, -1], [0, 0])
    assert np.allclose((0.0 - 8.0) * scale[:, 0], [-3.0, 3.0])


def test_a_block_of_zeros_stays_zero_and_a_tiny_one_has_a_scale() -> None:
    for value in (0.0, 1e-9):
        q, scale, zero = round_blocks(np.full((1, 32), value, np.float32), 32, 4, True)
        assert scale[0, 0] != 0 and np.all(np.abs((q.astype(np.float32) - zero) * scale) <= 1e-6)


def test_a_scale_beyond_float16_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit float16"):
        rounded_scale(np.array([1e6], np.float32))


@pytest.mark.parametrize("operator", ["matmul", "linear"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_weight_in_pieces_gives_the_same_bytes(
    operator: Operator, symmetric: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, layer = one_layer.graph(tmp_path, operator, one_layer.values(operator))
    whole, error = quantise_blocks(weight_of(model, layer), 32, 4, symmetric)
    int8, int8_error = quantise_channels(weight_of(model, layer))
    monkeypatch.setattr("nextomni_edge.calibration.layers.PIECE", 1)
    pieces, again = quantise_blocks(weight_of(model, layer), 32, 4, symmetric)
    assert whole.keys() == pieces.keys() and all(
        np.array_equal(whole[name], pieces[name]) for name in whole
    )
    assert again == pytest.approx(error, rel=1e-5)
    int8_pieces, int8_again = quantise_channels(weight_of(model, layer))
    assert all(np.array_equal(int8[name], int8_pieces[name]) for name in int8)
    assert int8_again == pytest.approx(int8_error, rel=1e-5)


@pytest.mark.parametrize("operator", ["matmul", "linear"])
def test_the_recorded_error_is_that_of_the_weight_even_where_it_was_multiplied_first(
    operator: Operator, tmp_path: Path
) -> None:
    values = one_layer.values(operator)
    model, layer = one_layer.graph(tmp_path, operator, values)
    matrix = values.T if operator == "matmul" else values
    factor = np.linspace(0.5, 2.0, 96, dtype=np.float32)
    for given in (None, factor):
        parts, error = quantise_blocks(weight_of(model, layer), 32, factor=given)
        found = dequantise(Decision("blocks", operator, 4, block_size=32), parts, matrix.shape)
        meant = found if given is None else found / given
        assert error == pytest.approx(
            np.linalg.norm(meant - matrix) / np.linalg.norm(matrix), rel=1e-4
        )


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    values = one_layer.values("matmul")
    values[3, 4] = np.nan
    model, layer = one_layer.graph(tmp_path, "matmul", values)
    with pytest.raises(InputError, match="tensor backbone/weight has values that are not finite"):
        quantise_blocks(weight_of(model, layer), 32)
