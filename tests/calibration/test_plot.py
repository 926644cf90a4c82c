"""Plots: axes that hold what is drawn, and pictures in which it stands."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from nextomni_edge.calibration.report.plot import (
    COLOURS,
    HEIGHT,
    WIDTH,
    Axis,
    lines,
    nice_step,
    pareto,
    scatter,
)


@pytest.mark.parametrize(
    ("span", "step"), [(1.0, 0.2), (9.0, 2.0), (23.4, 5.0), (0.03, 0.01), (0.0, 0.2)]
)
def test_ticks_are_round_numbers(span: float, step: float) -> None:
    assert nice_step(span) == pytest.approx(step)


@pytest.mark.parametrize(
    "values", [[0.1, 0.9], [3.2, 21.4], [5.0], [-2.0, 2.0], [0.0, 0.0], [-3.0]]
)
def test_a_linear_axis_holds_its_values_in_order(values: list[float]) -> None:
    axis = Axis(values, 100, 500, logarithmic=False)
    places = [axis(value) for value in values]
    assert places == sorted(places) and min(places) >= 100 and max(places) <= 500
    assert (
        axis.low <= min(values)
        and axis.high >= max(values)
        and axis(axis.low) == 100
        and axis(axis.high) == 500
    )


def test_a_logarithmic_axis_has_whole_decades_and_shows_zero_at_its_low_end() -> None:
    axis = Axis([0.0, 2e-5, 3e-2], 500, 100, logarithmic=True)
    assert axis.ticks == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    assert axis(0.0) == 500 and axis(1e-1) == 100 and axis(1e-3) == pytest.approx(300)
    assert Axis([0.0], 0, 10, logarithmic=True).ticks == [1.0, 10.0]


def pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG" and image.size == (WIDTH, HEIGHT)
    return np.asarray(image.convert("RGB"))


def count(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], colour: str) -> int:
    return int((picture == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).sum())


def test_every_series_and_every_point_is_drawn_in_its_own_colour() -> None:
    drawn = pixels(
        lines("KL", "t", "nats", {"a": [(0.1, 1e-4), (0.9, 1e-2)], "b": [(0.1, 0.0), (0.9, 1e-3)]})
    )
    spots = pixels(
        scatter("KL", "MB", "nats", {"a": (3.0, 0.1), "b": (5.0, 0.01)}, more_is_better=False)
    )
    for colour in COLOURS[:2]:
        assert count(drawn, colour) > 500 and count(spots, colour) > 150
    assert count(drawn, COLOURS[2]) == 0


def test_more_series_than_colours_start_again() -> None:
    assert pixels(
        scatter(
            "x", "y", "z", {str(i): (float(i), float(i)) for i in range(9)}, more_is_better=True
        )
    ).any()


def test_the_front_holds_what_no_other_beats() -> None:
    points = {
        "parent": (23.0, 0.98),
        "int8": (7.6, 0.95),
        "worse": (7.8, 0.94),
        "int4": (5.6, 0.96),
        "same": (6.0, 0.96),
    }
    assert pareto(points, more_is_better=True) == ["int4", "parent"]
    assert pareto({name: (x, 1 - y) for name, (x, y) in points.items()}, more_is_better=False) == [
        "int4",
        "parent",
    ]
    assert pareto({"a": (1.0, 0.5), "b": (1.0, 0.6)}, more_is_better=True) == ["b"]
