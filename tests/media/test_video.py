"""Videos: uniformly spaced frames of films and animations, turned as the camera says, and files
that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.media.video import read_video, sampled, write_video

SIZE = 32


def brightening(frames: int, size: int = SIZE) -> np.ndarray:
    """Frame i is uniformly 2·i/(frames−1) − 1."""
    levels = np.linspace(-1, 1, frames, dtype=np.float32)
    return np.broadcast_to(levels[:, None, None, None], (frames, 3, size, size)).copy()


@given(total=st.integers(1, 500), count=st.integers(1, 16))
def test_sampled_frames_are_uniform_and_in_order(total: int, count: int) -> None:
    indices = sampled(total, count)
    assert len(indices) == min(total, count) and indices == sorted(set(indices))
    assert indices[0] >= 0 and indices[-1] < total
    gaps = np.diff(indices)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
    assert abs(indices[0] - (total - 1 - indices[-1])) <= 1


@pytest.mark.parametrize(
    ("suffix", "error"), [(".gif", 0.02), (".webp", 0.01), (".png", 0.01), (".mp4", 0.05)]
)
def test_what_is_written_comes_back(tmp_path: Path, suffix: str, error: float) -> None:
    write_video(tmp_path / f"a{suffix}", brightening(8), 8)
    frames = read_video(tmp_path / f"a{suffix}", SIZE, 8)
    assert frames.shape == (8, 3, SIZE, SIZE) and frames.dtype == np.float32
    assert np.abs(frames - brightening(8)).max() < error


@pytest.mark.parametrize("suffix", [".webp", ".mp4"])
def test_longer_videos_are_sampled_over_their_whole_length(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / f"a{suffix}", brightening(40), 20)
    levels = read_video(tmp_path / f"a{suffix}", SIZE, 4).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, brightening(40)[sampled(40, 4), 0, 0, 0], atol=0.05)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_odd_sizes_are_written(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / f"a{suffix}", brightening(3, 17), 4)
    assert read_video(tmp_path / f"a{suffix}", SIZE, 8).shape == (3, 3, SIZE, SIZE)


def test_a_film_shot_upright_is_turned(tmp_path: Path) -> None:
    frames = np.ones((4, 3, SIZE, SIZE), dtype=np.float32)
    frames[:, :, :8] = -1.0  # black above
    write_video(tmp_path / "a.mp4", frames, 8)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    # shown turned by 90 degrees clockwise
    quarter = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    content[matrix : matrix + 36] = np.array(quarter, dtype=">i4").tobytes()
    (tmp_path / "a.mp4").write_bytes(content)
    seen = read_video(tmp_path / "a.mp4", SIZE, 1)[0]
    assert seen[:, :, 26:].max() < -0.5 and seen[:, :, :20].min() > 0.5


def test_a_still_picture_is_not_a_video(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(
        InputError, match=r"a\.png: a still picture, expected a video; give it as --image"
    ):
        read_video(tmp_path / "a.png", SIZE, 8)


def film(tmp_path: Path) -> bytes:
    write_video(tmp_path / "whole.mp4", brightening(16), 8)
    return (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.usefixtures("within_bounds")
def test_a_hostile_video_is_one_clear_line(tmp_path: Path) -> None:
    whole = film(tmp_path)
    hostile = {
        "empty.mp4": b"",
        "text.mp4": b"not a film",
        "cut.mp4": whole[: len(whole) // 2],
        "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nwhole.mp4\n#EXT-X-ENDLIST\n",
        "song.wav": (
            b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
        ),
    }
    for name, content in hostile.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_video(tmp_path / name, SIZE, 8)
        assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(
            caught.value
        )


@pytest.mark.usefixtures("within_bounds")
def test_damage_in_the_middle_of_a_film_never_escapes_as_another_error(tmp_path: Path) -> None:
    whole = film(tmp_path)
    generator = np.random.default_rng(0)
    for trial in range(30):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 20):
            damaged[place] = int(generator.integers(256))
        path = tmp_path / f"{trial}.mp4"
        path.write_bytes(damaged)
        try:
            assert np.isfinite(read_video(path, SIZE, 8)).all()
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_an_unknown_suffix_to_write_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected one of \.gif, \.webp, \.png, \.mp4"):
        write_video(tmp_path / "a.wmv", brightening(2), 8)
