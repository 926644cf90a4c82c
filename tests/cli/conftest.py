"""What a command is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, an animation, a sound and a text."""
    folder = tmp_path_factory.mktemp("media")
    Image.new("RGB", (16, 16), "red").save(folder / "red.png")
    frames = [Image.new("L", (16, 16), level) for level in (0, 128, 255)]
    frames[0].save(folder / "blink.gif", save_all=True, append_images=frames[1:])
    soundfile.write(folder / "tone.wav", np.full(4000, 0.25, dtype=np.float32), 16000)
    soundfile.write(folder / "long.wav", np.full(16000, 0.25, dtype=np.float32), 16000)
    (folder / "cat.txt").write_text("a cat", encoding="utf-8")
    return folder
