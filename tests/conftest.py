"""What many tests share: one tiny random model, and its bundle, made once in a session. Treat both as read-only; copy to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with random weights."""
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path) -> Path:
    """The model's verified ONNX bundle."""
    from nextomni_edge.export import export_bundle

    out = tiny_checkpoint.with_name("bundle")
    export_bundle(tiny_checkpoint, out)
    return out
