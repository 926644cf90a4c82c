"""The first value that differs is named, and a sound component has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.export.bisect import first_divergence
from tests.verify import tamper


def shift(values: NDArray[Any]) -> None:
    values += np.float32(0.01)


def test_a_sound_component_has_no_divergence(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    assert first_divergence(Bundle.open(tiny_bundle), tiny_checkpoint, "embed_image") is None


def test_the_first_value_after_a_changed_bias_is_named(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tamper.copy(tiny_bundle, tmp_path / "bundle")
    tamper.tensor(path, "embed_image", "projector.0.bias", shift)
    found = first_divergence(Bundle.open(path), tiny_checkpoint, "embed_image")
    assert found is not None and found.startswith("embed_image: linear (Add) differs by 0.0")


def test_a_component_that_the_bundle_lacks_is_refused(
    tiny_bundle: Path, tiny_checkpoint: Path
) -> None:
    with pytest.raises(UsageError, match="nose: the bundle has no such component"):
        first_divergence(Bundle.open(tiny_bundle), tiny_checkpoint, "nose")
