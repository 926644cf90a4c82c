"""How far the frames of a GIF reach is known before Pillow makes room for them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nextomni_edge.errors import InputError
from nextomni_edge.media.gif import reach
from nextomni_edge.media.video import read_video
from tests.bounded import bounded

COLOURS = ("red", "green", "blue")


def animation(size: tuple[int, int] = (32, 24), frames: int = 3) -> bytes:
    pictures = [Image.new("RGB", size, COLOURS[index % 3]) for index in range(frames)]
    for index, picture in enumerate(pictures):
        picture.putpixel((index, index), (255, 255, 255))
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=100)
    return out.getvalue()


def reaching(left: int, top: int, width: int, height: int) -> bytes:
    """An animation with another frame, which ends where it is asked to."""
    whole = animation()
    frame = struct.pack("<HHHHB", left, top, width, height, 0)
    return whole[:-1] + b"\x2c" + frame + b"\x02\x02\x4c\x01\x00;"


def opened(path: Path, content: bytes) -> io.BufferedReader:
    path.write_bytes(content)
    return path.open("rb")


def test_an_animation_of_pillows_reaches_as_far_as_its_screen(tmp_path: Path) -> None:
    with opened(tmp_path / "a.gif", animation((40, 20))) as file:
        file.seek(7)
        assert reach(file) == (40, 20) and file.tell() == 7


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0, 0, 4, 4), (32, 24)),
        ((30, 2, 10, 4), (40, 24)),
        ((0, 65_000, 65_535, 535), (65_535,) * 2),
    ],
)
def test_a_frame_beyond_the_screen_is_counted(
    tmp_path: Path, place: tuple[int, int, int, int], expected: tuple[int, int]
) -> None:
    with opened(tmp_path / "a.gif", reaching(*place)) as file:
        assert reach(file) == expected


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (9_000, 9_000, "9000x9000 is more than 8388608 pixels, refused"),
        (65_535, 130, "65535x130 is more than 8388608 pixels, refused"),
        (200, 65_535, "200x65535 is more than 8388608 pixels, refused"),
    ],
)
def test_a_frame_that_reaches_too_far_is_refused_without_its_memory(
    tmp_path: Path, width: int, height: int, sentence: str
) -> None:
    """A GIF of 600 bytes took 2 GB."""
    path = tmp_path / "a.gif"
    path.write_bytes(reaching(0, 0, width, height))
    with bounded(), pytest.raises(InputError, match=sentence):
        read_video(path, 32, 4)


def test_a_frame_that_reaches_a_little_further_is_read(tmp_path: Path) -> None:
    path, content = tmp_path / "a.gif", bytearray(animation((40, 26)))
    content[6:10] = struct.pack("<HH", 32, 24)
    path.write_bytes(content)
    assert read_video(path, 16, 4).shape == (3, 3, 16, 16)


@given(st.binary(max_size=400), st.integers(0, 400))
def test_damaged_files_are_walked_to_their_end(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    whole = animation()
    content = whole[: at % len(whole)] + noise + whole[at % len(whole) :]
    with opened(tmp_path_factory.mktemp("gif") / "a.gif", content) as file:
        width, height = reach(file)
        assert 0 <= width <= 2 * 65_535 and 0 <= height <= 2 * 65_535
