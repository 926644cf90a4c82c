"""Long media: every part of them can be found, and the answer says when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.media.audio import read_audio, sound_seconds, write_audio
from nextomni_edge.media.parts import file_windows
from nextomni_edge.media.video import FILM_WINDOW, film_windows, read_video, write_video
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.search import INDEX_NAME, combined
from nextomni_edge.search.table import Entry, Window, open_table
from nextomni_edge.search.update import update_index
from tests.fake_model import FakeModel

SOUND = AudioConfig(max_seconds=0.64)
RATE = SOUND.sample_rate


@pytest.fixture
def model(tiny_checkpoint: Path) -> FakeModel:
    return FakeModel(tiny_checkpoint)


def rising(seconds: float, rate: int = RATE) -> np.ndarray:
    """Each sample tells when it was."""
    return np.linspace(0, 0.9, round(seconds * rate), dtype=np.float32)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_span_of_a_sound_is_what_lies_there(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"a{suffix}", rising(4), RATE, subtype="PCM_16")
    whole = soundfile.read(tmp_path / f"a{suffix}", dtype="float32")[0]
    assert sound_seconds(tmp_path / f"a{suffix}") == pytest.approx(4.0)
    part = read_audio(tmp_path / f"a{suffix}", SOUND, True, span=(1.5, 2.0))
    np.testing.assert_array_equal(part, whole[round(1.5 * RATE) : 2 * RATE])
    long = read_audio(tmp_path / f"a{suffix}", SOUND, True, span=(1.5, 4.0))
    assert len(long) == round(0.64 * RATE)  # the most that the model takes


def test_a_span_of_a_compressed_sound_is_within_a_frame(tmp_path: Path) -> None:
    """Silence but for one second, found in the middle of a file that FFmpeg reads."""
    import av

    samples = np.zeros(44_100 * 6, np.float32)
    samples[44_100 * 3 : 44_100 * 4] = 0.5 * np.sin(np.arange(44_100) * 0.1)
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        for block in np.split(samples, 6):
            frame = av.AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
            frame.sample_rate = 44_100
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert sound_seconds(tmp_path / "a.m4a") == pytest.approx(6.0, abs=0.1)
    powers = [
        float(np.abs(read_audio(tmp_path / "a.m4a", SOUND, True, span=span)).mean())
        for span in ((2.0, 2.5), (3.2, 3.7), (4.5, 5.0))
    ]
    assert powers[1] > 0.25 and max(powers[0], powers[2]) < 0.01


def test_a_long_sound_is_cut_into_equal_shares(tmp_path: Path, model: FakeModel) -> None:
    limits = model.config.audio
    rate, longest = limits.sample_rate, limits.max_seconds
    seconds = 3.5 * longest
    soundfile.write(tmp_path / "a.wav", rising(seconds, rate), rate, subtype="FLOAT")
    stretches = list(MODALITIES["audio"].windows(tmp_path / "a.wav", model.config))
    assert [(each.start, each.stop) for each in stretches] == [
        (pytest.approx(index * seconds / 4), pytest.approx((index + 1) * seconds / 4))
        for index in range(4)
    ]
    soundfile.write(tmp_path / "b.wav", rising(longest, rate), rate, subtype="FLOAT")
    (whole,) = MODALITIES["audio"].windows(tmp_path / "b.wav", model.config)
    assert (whole.start, whole.stop) == (None, None)
    expected = MODALITIES["audio"].read(tmp_path / "b.wav", model.config)
    np.testing.assert_array_equal(whole.media, expected)


def film(path: Path, seconds: int, white: range) -> None:
    """A dark film of one frame a second that is white in some of them."""
    frames = np.full((seconds, 3, 16, 16), -1.0, np.float32)
    frames[white.start : white.stop] = 1.0
    write_video(path, frames, 1)


def test_the_windows_of_a_film_are_the_film(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 40, range(20, 30))
    found = list(film_windows(tmp_path / "a.mp4", 16, 4))
    assert [(start, stop) for start, stop, _ in found] == [
        (pytest.approx(FILM_WINDOW * index), pytest.approx(FILM_WINDOW * (index + 1)))
        for index in range(4)
    ]
    levels = [float(frames.mean()) for _, _, frames in found]
    assert levels[2] > 0.9 and max(levels[0], levels[1], levels[3]) < -0.9
    assert all(frames.shape == (4, 3, 16, 16) for _, _, frames in found)
    joined = np.concatenate([frames for _, _, frames in found])
    np.testing.assert_array_equal(joined, read_video(tmp_path / "a.mp4", 16, 16))


def test_a_short_film_and_an_animation_are_whole(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 12, range(3))
    film(tmp_path / "a.gif", 40, range(3))
    for name in ("a.mp4", "a.gif"):
        ((start, stop, frames),) = film_windows(tmp_path / name, 16, 4)
        assert (start, stop) == (None, None)
        np.testing.assert_array_equal(frames, read_video(tmp_path / name, 16, 4))


def test_what_is_late_in_a_long_film_is_found_with_its_time(
    tmp_path: Path, model: FakeModel
) -> None:
    """By its first seconds, the film would be dark."""
    folder = tmp_path / "media"
    folder.mkdir()
    film(folder / "a.mp4", 40, range(30, 40))
    film(folder / "dark.mp4", 40, range(0))
    film(tmp_path / "white.mp4", 10, range(10))
    report = update_index(folder, folder / INDEX_NAME, model, "m")
    assert report.embedded == 2 and report.skipped == []
    (part,) = file_windows(model, "video", tmp_path / "white.mp4")
    from nextomni_edge.search.update import embed_part

    with open_table(folder / INDEX_NAME, "m") as table:
        best, other = table.nearest(embed_part(model, part.media), 5)
        assert len(table) == 2  # eight windows, but each file is one answer
    assert (best.path, best.start, best.stop) == ("a.mp4", 30.0, 40.0)
    assert best.cosine > 0.99 > other.cosine


def test_the_many_windows_of_one_file_hide_no_other(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    query = np.zeros(16, np.float32)
    query[0] = 1.0

    def near() -> np.ndarray:
        row = query + 0.01 * generator.normal(size=16).astype(np.float32)
        return row / np.linalg.norm(row)

    with open_table(tmp_path / "index", "m", 16) as table:
        windows = [Window(float(n), float(n + 1), near()) for n in range(900)]
        table.put(Entry("long.wav", "audio", "0", 1, 1, 1), windows)
        for number in range(4):
            far = near() + np.eye(16, dtype=np.float32)[number + 1]
            row = far / np.linalg.norm(far)
            table.put(Entry(f"{number}.wav", "audio", "1", 1, 1, 1), [Window(None, None, row)])
        table.save()
        found = table.nearest(query, 3)
    assert found[0].path == "long.wav" and len(found) == 3


def test_parts_of_a_query_are_combined_to_their_mean() -> None:
    rows = np.eye(4, dtype=np.float32)[:2]
    np.testing.assert_allclose(combined(rows), [0.5**0.5, 0.5**0.5, 0, 0], atol=1e-6)
    np.testing.assert_allclose(combined(rows[:1]), rows[0], atol=1e-6)
    with pytest.raises(UsageError, match="cancel each other"):
        combined(np.stack([rows[0], -rows[0]]))
    with pytest.raises(UsageError, match="an empty query"):
        combined(rows[:0])


def test_a_mp3_and_what_has_no_length_are_read(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.mp3", np.zeros(3 * RATE, np.float32), RATE)
    assert sound_seconds(tmp_path / "a.mp3") == pytest.approx(3.0, abs=0.2)


def test_the_nearest_are_those_of_brute_force(tmp_path: Path) -> None:
    """Rows with an offset that all share, and dimensions that outweigh the others."""
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(3000, 64)) + 0.8 * generator.normal(size=64)
    rows[:, :2] *= 8
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    with open_table(tmp_path / "index", "m", 64) as table:
        for number, row in enumerate(rows):
            entry = Entry(f"{number:04d}.txt", "text", str(number), 1, 1, 1)
            table.put(entry, [Window(None, None, row)])
        table.save()
        for query in rows[:20] + 0.05 * generator.normal(size=(20, 64)).astype(np.float32):
            unit = query / np.linalg.norm(query)
            exact = np.argsort(-(rows @ unit))[:10]
            found = [int(match.path[:4]) for match in table.nearest(unit, 10)]
            assert sorted(found) == sorted(exact)
