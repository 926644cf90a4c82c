"""A medium is the file that was checked, whatever has its path by the time it is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.config import AudioConfig
from nextomni_edge.media import audio, image, video
from nextomni_edge.media.kinds import open_medium

pytestmark = pytest.mark.usefixtures("within_bounds")

SOUND = AudioConfig(max_seconds=1.28)
PIXELS = np.linspace(-1, 1, 4 * 3 * 32 * 32, dtype=np.float32).reshape(4, 3, 32, 32)
READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "a.png": lambda path: image.read_image(path, 32),
    "a.wav": lambda path: audio.read_audio(path, SOUND),
    "a.mp3": lambda path: audio.read_audio(path, SOUND),
    "a.gif": lambda path: video.read_video(path, 32, 4),
    "a.mp4": lambda path: video.read_video(path, 32, 4),
}


def write(path: Path) -> None:
    if path.suffix == ".png":
        image.write_image(path, PIXELS[0])
    elif path.suffix in (".wav", ".mp3"):
        audio.write_audio(path, np.sin(np.arange(16000, dtype=np.float32)), 16000)
    else:
        video.write_video(path, PIXELS, 8.0)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", READERS)
def test_another_file_under_the_same_path_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path, read = tmp_path / name, READERS[name]
    write(path)
    expected = read(path)

    def opened_then_replaced(given: Path) -> BufferedReader:
        file = open_medium(given)
        given.unlink()
        os.mkfifo(given)  # opening it again would wait for ever
        return file

    for module in (image, audio, video):
        monkeypatch.setattr(module, "open_medium", opened_then_replaced)
    np.testing.assert_array_equal(read(path), expected)
