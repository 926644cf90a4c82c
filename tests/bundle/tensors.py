"""Safetensors bytes for tests."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from nextomni_edge.formats.tensor_file import write_tensors


def safetensors_bytes(tensors: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    write_tensors(file, tensors)
    return file.getvalue()
