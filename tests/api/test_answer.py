"""Answers as files: every format is what its name says, and none is written under another's."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

import nextomni_edge as ne
from nextomni_edge.api.output import kind_of_output
from nextomni_edge.errors import UsageError
from nextomni_edge.media.audio import write_audio
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.tokens.chat import Kind

FORMATS = {kind: record.formats for kind, record in MODALITIES.items()}
KINDS: tuple[Kind, ...] = ("text", "image", "audio", "video")


@pytest.fixture(scope="module")
def answers(model: ne.Model) -> dict[Kind, ne.Answer]:
    return {
        "text": model.generate("a cat"),
        "image": model.generate("a cat", to="image"),
        "audio": model.generate("a cat", to="audio", seconds=0.3),
        "video": model.generate("a cat", to="video", frames=3),
    }


@pytest.mark.parametrize("suffix", FORMATS["image"])
def test_a_picture_is_a_picture_in_every_format(
    answers: dict[Kind, ne.Answer], tmp_path: Path, suffix: str
) -> None:
    answers["image"].save(tmp_path / f"a{suffix}", scale=3)
    with Image.open(tmp_path / f"a{suffix}") as written:
        assert written.size == (48, 48) and written.format == FORMATS["image"][suffix]


def test_scaling_makes_a_square_of_each_pixel(
    answers: dict[Kind, ne.Answer], tmp_path: Path
) -> None:
    answers["image"].save(tmp_path / "a.png", scale=5)
    with Image.open(tmp_path / "a.png") as written:
        large = np.asarray(written)
    small = np.asarray(answers["image"].image)
    np.testing.assert_array_equal(large, small.repeat(5, axis=0).repeat(5, axis=1))


@pytest.mark.parametrize("suffix", FORMATS["audio"])
def test_a_sound_is_a_sound_in_every_format(
    answers: dict[Kind, ne.Answer], tmp_path: Path, suffix: str
) -> None:
    answers["audio"].save(tmp_path / f"a{suffix}")
    with soundfile.SoundFile(tmp_path / f"a{suffix}") as written:
        assert written.samplerate == 16000 and written.format == FORMATS["audio"][suffix]
        assert written.frames >= 4 * 1280  # MP3 is padded to whole frames


@pytest.mark.parametrize("suffix", FORMATS["video"])
def test_a_video_is_a_video_in_every_format(
    answers: dict[Kind, ne.Answer], tmp_path: Path, suffix: str
) -> None:
    answers["video"].save(tmp_path / f"a{suffix}", fps=4, scale=3)
    if suffix in (".mp4", ".mov", ".webm"):
        with av.open(str(tmp_path / f"a{suffix}")) as film:
            frames = list(film.decode(video=0))
            assert suffix[1:] in film.format.name and len(frames) == 3
            assert (frames[0].width, frames[0].height) == (48, 48)
            assert film.streams.video[0].average_rate == 4
    else:
        with Image.open(tmp_path / f"a{suffix}") as animation:
            assert animation.n_frames == 3 and animation.size == (48, 48)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_no_format_is_written_under_another_s_name(
    answers: dict[Kind, ne.Answer], tmp_path: Path, kind: Kind
) -> None:
    for suffix in {suffix for formats in FORMATS.values() for suffix in formats} | {".pdf"}:
        if suffix not in FORMATS[kind]:
            with pytest.raises(UsageError, match=r"a\.?\w*: "):
                answers[kind].save(tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image"), ("a.JPG", "image"), ("a.webp", "image"), ("a.wav", "audio"),
        ("a.mp3", "audio"), ("a.mp4", "video"), ("a.webm", "video"), ("a.txt", "text"),
        ("a.md", "text"), ("a", "text"),
    ],
)  # fmt: skip
def test_a_suffix_tells_the_modality(name: str, kind: Kind) -> None:
    assert kind_of_output(Path(name)) == kind


def test_a_suffix_that_tells_two_modalities_or_none_is_refused() -> None:
    with pytest.raises(UsageError, match="holds a picture or a video; say which with --to image"):
        kind_of_output(Path("a.gif"))
    with pytest.raises(UsageError, match=r"unknown suffix '.pdf'; expected one of .txt"):
        kind_of_output(Path("a.pdf"))


@pytest.mark.parametrize(
    ("kind", "scale", "line"),
    [
        ("text", 2, "scale is for pictures and videos, but the answer is a text"),
        ("audio", 2, "scale is for pictures and videos, but the answer is a sound"),
        ("image", 0, "scale is 0, expected a whole number from 1"),
        ("image", 10_000, "more than 67108864 pixels; choose less"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(
    answers: dict[Kind, ne.Answer], kind: Kind, scale: int, line: str
) -> None:
    suffix = {"text": ".txt", "audio": ".wav", "image": ".png"}[kind]
    with pytest.raises(UsageError) as refused:
        answers[kind].encode(suffix, scale=scale)
    assert line in str(refused.value)


def test_an_mp3_of_a_rate_that_it_does_not_have_is_resampled(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.mp3", np.zeros(5000, np.float32), 10_000)
    with soundfile.SoundFile(tmp_path / "a.mp3") as written:
        assert written.samplerate == 48_000


def test_a_place_that_cannot_be_written_is_refused(
    answers: dict[Kind, ne.Answer], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not exist; create it or choose another"):
        answers["image"].save(tmp_path / "none" / "a.png")


def test_an_answer_describes_itself(answers: dict[Kind, ne.Answer]) -> None:
    assert [str(answers[kind]) for kind in KINDS[1:]] == [
        "[picture, 16x16]",
        "[sound, 0.32 s]",
        "[video, 16x16, 3 frames]",
    ]
    assert repr(answers["image"]) == "<Answer [picture, 16x16]>"
    assert str(answers["text"]) == answers["text"].text
