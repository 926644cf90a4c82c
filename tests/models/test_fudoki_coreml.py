"""FUDOKI's layout as Core ML packages: all eight components, converted and verified here. The
interpreter of the stored programs runs them; Apple's library did not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("coremltools", reason="Core ML packages are written by coremltools")

from nextomni_edge.bundle import Bundle
from nextomni_edge.export.bundle import export_bundle
from tests.calls import Invoke, answered
from tests.models.fudoki_oracle import fudoki_model


@pytest.mark.slow  # conversions of a minute
def test_a_whole_model_becomes_packages_that_compute_what_pytorch_computes(
    made_once: Callable[[str, Callable[[Path], object]], Path],
    invoke: Invoke,
    tmp_path: Path,
) -> None:
    path = made_once(
        "fudoki-coreml",
        lambda out: export_bundle(fudoki_model(tmp_path / "fudoki"), out, target="coreml"),
    )
    manifest = Bundle.open(path).manifest
    assert {record.format for record in manifest.components.values()} == {"coreml"}
    assert len(manifest.components) == 8 and manifest.parity["failures"] == []
    assert manifest.parity["against"] == "PyTorch"
    assert answered(invoke("verify", path, "--json"))["ok"]
    drawn = tmp_path / "a.png"
    answered(invoke("run", path, "--text", "a cat", "--to", "image", "-o", drawn, "--json"))
    said = answered(invoke("run", path, "--image", drawn, "--text", "what is this?", "--json"))
    assert said["text"] is not None and drawn.stat().st_size
