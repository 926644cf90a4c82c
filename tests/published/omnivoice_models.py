"""The checkpoints of omnivoice_checkpoint.py as model directories, imported once."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.models.networks import expected_shapes
from tests.published import omnivoice_checkpoint as checkpoint


@functools.cache
def source(shape: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="omnivoice-")) / shape
    checkpoint.write(folder, shape)
    return folder


@functools.cache
def imported(shape: str) -> Path:
    out = source(shape).with_name(f"{shape}-model")
    import_model(source(shape), out, expected_shapes)
    return out


@functools.cache
def model(shape: str) -> EdgeModel:
    """Run by PyTorch."""
    return EdgeModel.from_checkpoint(imported(shape))
