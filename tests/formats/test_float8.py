"""E4M3 in numpy: every number, and every rounding, as the library that defines the type has it."""

from __future__ import annotations

import ml_dtypes  # onnx brings it
import numpy as np

from nextomni_edge.formats import float8

BITS = np.arange(256, dtype=np.uint8)
FINITE = np.sort(float8.VALUES[np.isfinite(float8.VALUES)])


def test_all_256_patterns_mean_what_ml_dtypes_says() -> None:
    np.testing.assert_array_equal(
        float8.decode(BITS), BITS.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    )


def test_every_number_every_border_and_its_neighbours_are_rounded_as_ml_dtypes_does() -> None:
    borders = (FINITE[1:] + FINITE[:-1]) / 2
    spread = np.exp(np.random.default_rng(0).uniform(-12, 6.1, 20000)).astype(np.float32)
    near = [
        borders,
        np.nextafter(borders, np.float32(np.inf)),
        np.nextafter(borders, np.float32(-np.inf)),
    ]
    x = np.concatenate([FINITE, *near, spread, -spread, np.array([0.0, -0.0], np.float32)])
    np.testing.assert_array_equal(
        float8.encode(x), x.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    )


def test_what_is_too_large_becomes_the_largest() -> None:
    assert float8.rounded(np.array([1e9, -1e9, 449.0], np.float32)).tolist() == [
        448.0,
        -448.0,
        448.0,
    ]
