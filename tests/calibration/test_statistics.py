"""Ranges and histograms of values that come in pieces, against the same values taken at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextomni_edge.calibration.data.statistics import (
    HALVES,
    BinStatistics,
    Histogram,
    LayerStatistics,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(-20, 20), st.integers(1, 50)),
        min_size=1,
        max_size=6,
    )
)
def test_a_histogram_does_not_depend_on_the_pieces_or_their_order(
    pieces: list[tuple[int, int, int]],
) -> None:
    drawn = [
        np.random.default_rng(seed).standard_normal(count) * 2.0**scale
        for seed, scale, count in pieces
    ]
    forward, backward, whole = Histogram(), Histogram(), Histogram()
    for values in drawn:
        forward.add(values)
    for values in reversed(drawn):
        backward.add(values)
    whole.add(np.concatenate(drawn))
    assert forward.reach == backward.reach == whole.reach
    assert np.array_equal(forward.counts, whole.counts) and np.array_equal(
        backward.counts, whole.counts
    )


def test_every_value_lies_in_its_bin() -> None:
    values = np.random.default_rng(0).standard_normal(1000) * 3
    histogram = Histogram()
    histogram.add(values)
    width = histogram.reach / HALVES
    edges = np.append(histogram.centres() - width / 2, histogram.reach)
    assert np.array_equal(histogram.counts, np.histogram(values, edges)[0])


@pytest.mark.parametrize("values", [np.zeros(5), np.array([0.0, 0.0, 8.0, -8.0])])
def test_zeros_and_powers_of_two_are_counted_too(
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    histogram = Histogram()
    histogram.add(np.zeros(3))
    histogram.add(values)
    assert histogram.counts.sum() == 3 + len(values)


def statistics(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> BinStatistics:
    found = BinStatistics.empty(values.shape[1])
    for piece in np.array_split(values, 7):
        found.add(piece)
    return found


def test_magnitudes_and_ranges_are_those_of_all_rows() -> None:
    values = np.random.default_rng(1).standard_normal((500, 6)).astype(np.float32) * np.arange(
        1, 7, dtype=np.float32
    )
    found = statistics(values)
    assert found.rows == 500 and found.range("minmax") == (values.min(), values.max())
    assert np.array_equal(found.absmax, np.abs(values).max(axis=0))
    assert np.allclose(found.absmean, np.abs(values).mean(axis=0), rtol=1e-6)


def test_a_percentile_leaves_a_lone_outlier_out() -> None:
    values = np.random.default_rng(2).standard_normal((20_000, 4)).astype(np.float32)
    values[17, 2] = 1000.0
    found = statistics(values)
    low, high = found.range("percentile")
    width = found.histogram.reach / HALVES
    assert np.quantile(values, 0.9999) <= high <= np.quantile(values, 0.9999) + 2 * width
    assert np.quantile(values, 0.0001) - 2 * width <= low <= np.quantile(values, 0.0001)


@pytest.mark.parametrize("power", [1, 3])
def test_the_range_of_the_least_squared_error_is_that_of_the_values_themselves(power: int) -> None:
    values = (np.random.default_rng(3).standard_normal((20_000, 4)) ** power).astype(np.float32)

    def cost(low: float, high: float) -> float:
        step = (high - low) / 255
        rounded = np.clip(np.rint((values - low) / step), 0, 255) * step + low
        return float(((values - rounded) ** 2).sum())

    found = statistics(values)
    low, high = found.range("mse")
    best = min(cost(found.low * share, found.high * share) for share in np.arange(0.3, 1.001, 0.01))
    assert found.low < low < 0 < high < found.high
    assert cost(low, high) <= 1.02 * best < cost(found.low, found.high)


def test_the_range_of_a_layer_does_for_every_bin_that_was_reached() -> None:
    generator = np.random.default_rng(4)
    loud, quiet = (
        generator.standard_normal((400, 3)).astype(np.float32) * scale for scale in (9, 1)
    )
    layer = LayerStatistics((statistics(quiet), BinStatistics.empty(3), statistics(loud)))
    assert layer.range() == (loud.min(), loud.max())
    assert np.array_equal(layer.absmax, np.abs(loud).max(axis=0))
    assert np.allclose(
        layer.absmean, (np.abs(loud).mean(axis=0) + np.abs(quiet).mean(axis=0)) / 2, rtol=1e-6
    )
    assert LayerStatistics((BinStatistics.empty(3),)).seen == ()
