"""The stored format of quantised layers: packing, dequantising, and manifests whose decisions
cannot be meant."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.manifest import read_manifest
from nextomni_edge.bundle.quantised import QUANTISED, SCALE, ZERO_POINT, dequantise, pack, unpack
from nextomni_edge.errors import InputError
from tests.bundle.build import small_bundle
from tests.bundle.damage import load


@pytest.mark.parametrize("length", [1, 2, 7, 32])
def test_packed_nibbles_come_back_in_order(length: int) -> None:
    values = np.random.default_rng(length).integers(0, 16, (3, length), np.uint8)
    packed = pack(values, 4)
    assert packed.shape == (3, (length + 1) // 2)
    assert np.array_equal(unpack(packed, 4)[:, :length], values)


def test_the_low_nibble_is_the_first_value() -> None:
    assert pack(np.array([[1, 2]], np.uint8), 4).tolist() == [[0x21]]


def test_blocks_are_dequantised_by_their_own_scale_and_zero_point() -> None:
    q = np.arange(16, dtype=np.uint8).reshape(1, 16) % 16
    parts = {
        QUANTISED: pack(np.tile(q, (1, 2)).reshape(1, 2, 16), 4),
        SCALE: np.array([[0.5, 2.0]], np.float16),
        ZERO_POINT: np.array([[0x38]], np.uint8),  # 8 for the first block, 3 for the second
    }
    decision = Decision("blocks", "matmul", 4, block_size=16, symmetric=False)
    found = dequantise(decision, parts, (1, 20))
    expected = np.concatenate([(np.arange(16) - 8) * 0.5, (np.arange(4) - 3) * 2.0])
    assert found.dtype == np.float32 and np.array_equal(found[0], expected)


def test_a_product_of_matrices_is_stored_as_its_graph_has_it_and_comes_back_as_the_model_does() -> (
    None
):
    q = np.array([[1, 2, 3], [4, 5, 6]], np.int8)  # (in, out)
    parts = {QUANTISED: q, SCALE: np.array([1.0, 10.0, 100.0], np.float32)}
    found = dequantise(Decision("per_token", "matmul", 8), parts, (3, 2))
    assert found.tolist() == [[1, 4], [20, 50], [300, 600]]


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a block size nobody computes": (
        {"scheme": "blocks", "block_size": 48},
        "block size 48, expected one of",
    ),
    "blocks without a size": ({"scheme": "blocks"}, "block size None"),
    "a size without blocks": (
        {"scheme": "per_token", "block_size": 32},
        "expected one only for 'blocks'",
    ),
    "static without a range": (
        {"scheme": "static"},
        "activation range only for 'static' and 'float8'",
    ),
    "float8 without a range": ({"scheme": "float8"}, "only for 'static' and 'float8'"),
    "float8 of a table": (
        {"scheme": "float8", "operator": "gather", "activation": [1.0, 0.0]},
        "8 bits of a product of matrices",
    ),
    "a range of three numbers": (
        {"scheme": "static", "activation": [1.0, 0.0, 3.0]},
        "activation of 3 numbers",
    ),
    "a convolution without an output range": (
        {"scheme": "static", "operator": "conv", "activation": [1.0, 0.0]},
        "an output range only for static convolutions",
    ),
    "an output range of a product": (
        {"output": [1.0, 0.0]},
        "an output range only for static convolutions",
    ),
    "an unknown scheme": ({"scheme": "blokcs"}, "expected one of"),
    "bits that are none": ({"bits": 5}, "expected one of 4, 8"),
    "a key that does not exist": ({"blocksize": 32}, "did you mean 'block_size'?"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_decision_that_cannot_be_meant_is_refused(name: str, tmp_path: Any) -> None:
    changes, message = HOSTILE[name]
    data = load(small_bundle(tmp_path / "bundle"))
    decision = dataclasses.asdict(Decision("per_token", "matmul", 8)) | changes
    data["components"]["backbone"]["quantisation"] = {"weight": decision}
    with pytest.raises(InputError, match=message):
        read_manifest(data, "manifest.json")
