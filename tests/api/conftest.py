"""One loaded model for all tests of the front door, and a folder as the documentation has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nextomni_edge as ne


@pytest.fixture(scope="session")
def model(tiny_bundle: Path) -> ne.Model:
    """The tiny bundle, loaded. Threads and tests may share it."""
    return ne.load(tiny_bundle)


@pytest.fixture
def clone(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `demo/bundle`, `rocket.png` and `photos`, as in the examples of the
    docstrings."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "bundle").symlink_to(tiny_bundle)
    colours = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    Image.fromarray(colours).save(tmp_path / "rocket.png")
    (tmp_path / "photos").mkdir()
    Image.fromarray(colours[::-1]).save(tmp_path / "photos" / "red.png")
    (tmp_path / "photos" / "cat.txt").write_text("a cat", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path
