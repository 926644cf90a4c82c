"""The first value that differs is named, for every component, and a sound component has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.export.bisect import first_divergence
from tests.tiny import COMPONENTS
from tests.verify import tamper


def shift(values: NDArray[Any]) -> None:
    values += np.float32(0.25)


def to_nan(values: NDArray[Any]) -> None:
    values.reshape(-1)[0] = np.nan


@pytest.mark.parametrize(
    "component",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("backbone", "image_decoder")))
        for name in COMPONENTS
    ],
)
def test_a_sound_component_has_no_divergence(
    tiny_bundle: Path, tiny_checkpoint: Path, component: str
) -> None:
    bundle = Bundle.open(tiny_bundle, verify_hashes=False)
    assert first_divergence(bundle, tiny_checkpoint, component) is None


@pytest.mark.parametrize(
    ("component", "weight", "first"),
    [
        ("embed_image", "projector.0.bias", "linear (Add)"),
        ("backbone", "layers.1.self_attn.k_proj.bias", "linear_8 (Add)"),
        ("image_encoder", "transformer.blocks.0.qkv.bias", "linear (Add)"),
        ("image_decoder", "refine.1.bias", "conv2d (Conv)"),
        ("audio_encoder", "transformer.blocks.0.mlp.0.bias", "linear_2 (Add)"),
        ("audio_decoder", "transformer.blocks.0.norm1.bias", "layer_norm (LayerNormalization)"),
    ],
)
def test_the_first_value_after_a_changed_bias_is_named(
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    component: str,
    weight: str,
    first: str,
) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.tensor(path, component, weight, shift)
    found = first_divergence(Bundle.open(path, verify_hashes=False), tiny_checkpoint, component)
    assert found is not None and found.startswith(f"{component}: {first} differs by 0."), found


def test_a_value_that_is_no_number_is_named(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.tensor(path, "backbone", "layers.1.input_layernorm.weight", to_nan)
    found = first_divergence(Bundle.open(path, verify_hashes=False), tiny_checkpoint, "backbone")
    assert found is not None and "is not finite where PyTorch is (sizes of the trace)" in found


def test_a_component_that_the_bundle_lacks_is_refused(
    tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    with pytest.raises(UsageError, match="nose: the bundle has no such component"):
        first_divergence(Bundle.open(tiny_bundle), tiny_checkpoint, "nose")
