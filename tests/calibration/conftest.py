"""The tiny bundle opened, and prompts of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from nextomni_edge.bundle import Bundle
from nextomni_edge.generate.model import EdgeModel
from tests.calibration.lines import line


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind in and out, seven of them."""
    folder = tmp_path_factory.mktemp("prompts")
    Image.new("RGB", (16, 16), "red").save(folder / "red.png")
    frames = [Image.new("L", (16, 16), level) for level in (0, 128, 255)]
    frames[0].save(folder / "blink.gif", save_all=True, append_images=frames[1:])
    soundfile.write(folder / "tone.wav", np.full(4000, 0.25, dtype=np.float32), 16000)
    asked = ("text", "what is this?")
    lines = [
        line("draw", "image", ("text", "draw a cat")),
        line("draw", "image", ("text", "draw a red rocket")),
        line("name", "text", ("image", "red.png"), asked),
        line("hear", "text", ("audio", "tone.wav"), asked),
        line("watch", "text", ("video", "blink.gif"), asked),
        line("say", "audio", ("text", "say a cat"), count=2),
        line("film", "video", ("text", "a cat spinning"), count=2),
    ]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n\n")
    return folder


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="session")
def model(bundle: Bundle) -> EdgeModel:
    return EdgeModel.from_bundle(bundle)
