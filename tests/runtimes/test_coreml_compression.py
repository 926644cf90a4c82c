"""Compressed weights: the interpreter's numbers against coremltools' own, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import unpacked
from nextomni_edge.runtimes.coreml.compression import (
    constexpr_blockwise_shift_scale,
    constexpr_lut_to_dense,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("blocks", [(1, 1), (6, 1), (6, 4), (2, 8), (6, 32)])
@pytest.mark.parametrize("shifted", [False, True])
def test_blocks_mean_what_they_mean_to_coremltools(blocks: tuple[int, int], shifted: bool) -> None:
    compression = pytest.importorskip(
        "coremltools.converters.mil.mil.ops.defs.iOS18.compression",
        reason="the oracle is coremltools",
    )
    data = RNG.integers(0, 16, (6, 32)).astype(np.uint8)
    scale = RNG.uniform(0.1, 1.0, blocks).astype(np.float32)
    offset = RNG.integers(0, 16, blocks).astype(np.uint8) if shifted else None
    expected = compression.constexpr_blockwise_shift_scale.decompress(data, scale, offset)
    assert np.array_equal(constexpr_blockwise_shift_scale(data, scale, offset), expected)


@pytest.mark.parametrize("groups", [(1, 1), (3, 1), (1, 2)])
def test_a_palette_means_what_it_means_to_coremltools(groups: tuple[int, int]) -> None:
    compression = pytest.importorskip(
        "coremltools.converters.mil.mil.ops.defs.iOS18.compression",
        reason="the oracle is coremltools",
    )
    indices = RNG.integers(0, 16, (6, 8)).astype(np.uint8)
    lut = RNG.standard_normal((*groups, 16, 1)).astype(np.float32)
    expected = compression.constexpr_lut_to_dense.decompress(indices, lut, None)
    assert np.array_equal(constexpr_lut_to_dense(indices, lut), expected)


def test_what_does_not_fit_is_refused() -> None:
    data, lut = np.zeros((6, 32), np.uint8), np.zeros((1, 1, 4, 1), np.float32)
    with pytest.raises(
        InputError, match=r"blocks \(6, 5\) do not divide a weight of shape \(6, 32\)"
    ):
        constexpr_blockwise_shift_scale(data, np.ones((6, 5), np.float32))
    with pytest.raises(InputError, match="a palette of 4 entries is asked for entry 9"):
        constexpr_lut_to_dense(data + np.uint8(9), lut)
    with pytest.raises(InputError, match="a palette of vectors of 2"):
        constexpr_lut_to_dense(data, np.zeros((1, 1, 4, 2), np.float32))


def test_values_of_less_than_a_byte_stand_low_bits_first() -> None:
    assert unpacked(np.array([0x21, 0x83], np.uint8), "uint4", 4).tolist() == [1, 2, 3, 8]
    assert unpacked(np.array([0x21, 0x83], np.uint8), "int4", 3).tolist() == [1, 2, 3]
    assert unpacked(np.array([0xF1], np.uint8), "int4", 2).tolist() == [1, -1]
    assert unpacked(
        np.array([0b01000001, 0b11110000, 0b00000011], np.uint8), "uint6", 3
    ).tolist() == [1, 1, 63]
