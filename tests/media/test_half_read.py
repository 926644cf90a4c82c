"""Media that a careless reader reads half: times, turns, odd pixels, lying headers, depth."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nextomni_edge.config import AudioConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.media.audio import mono, read_audio
from nextomni_edge.media.image import read_image
from nextomni_edge.media.video import read_video, sampled, sampled_by_time, upright, write_video
from nextomni_edge.tokens.audio import max_samples

SIZE = 32
SOUND = AudioConfig(max_seconds=1.28)


def plain(level: int, size: tuple[int, int] = (SIZE, SIZE)) -> Image.Image:
    return Image.new("RGB", size, (level,) * 3)


def levels(frames: np.ndarray) -> list[int]:
    return [round(float((frame.mean() + 1) * 127.5)) for frame in frames]


# ---- films by time


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([20] * 32 + [10000], [255] * 8),
        ([1000, 3000], [0, 255, 255, 255]),
        ([7000, 1000], [0, 0, 0, 0, 0, 0, 0, 255]),
        ([100, 100], [0, 255]),
    ],
)
def test_an_animation_is_sampled_by_time(
    tmp_path: Path, suffix: str, durations: list[int], expected: list[int]
) -> None:
    count = len(durations)
    frames = [plain(0 if index < count - 1 else 255) for index in range(count)]
    for index, frame in enumerate(frames[:-1]):  # or Pillow merges them
        frame.putpixel((index % SIZE, 0), (9, 9, 9))
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)
    assert [round(level / 255) * 255 for level in levels(read_video(path, SIZE, 8))] == expected


@given(durations=st.lists(st.integers(1, 5000), min_size=1, max_size=60), count=st.integers(1, 16))
def test_the_frame_at_each_time_is_the_one_that_is_shown(durations: list[int], count: int) -> None:
    ends = [*itertools.accumulate(durations)]
    found = sampled_by_time([0, *ends[:-1]], ends[-1], count)
    for index, frame in enumerate(found):
        time = Fraction((2 * index + 1) * ends[-1], 2 * count)
        assert ends[frame] - durations[frame] <= time and (time < ends[frame] + 1)


@given(total=st.integers(1, 500), count=st.integers(1, 16))
def test_equal_lengths_are_the_middle_of_equal_shares(total: int, count: int) -> None:
    if total > count:
        middles = [(2 * index + 1) * total // (2 * count) for index in range(count)]
        assert sampled(total, count) == middles
    else:
        assert sampled(total, count) == list(range(total))


def film(path: Path, times: list[int], grey: list[int], **stream_options: object) -> Path:
    """A film of plain frames at these thousandths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"crf": "4", "bf": "0"}
        for name, value in stream_options.items():
            setattr(stream.codec_context, name, value)
        for time, level in zip(times, grey, strict=True):
            frame = av.VideoFrame.from_image(plain(level, (32, 16)))
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    ("times", "grey", "expected"),
    [
        ([0, 20, 40, 60, 80, 4000, 4020], [0, 0, 0, 0, 0, 255, 255], [0, 0, 0]),
        ([0, 1000, 1010, 1020, 1030, 1040, 3000], [0, 255, 255, 255, 255, 255, 0], [0, 255, 255]),
        ([0, 10, 20, 30, 40, 50, 60], [0, 0, 0, 255, 255, 255, 255], [0, 255, 255]),
    ],
)
def test_a_film_is_sampled_by_time(
    tmp_path: Path, suffix: str, times: list[int], grey: list[int], expected: list[int]
) -> None:
    path = film(tmp_path / f"a{suffix}", times, grey)
    rows = read_video(path, SIZE, 3)[:, :, 12:20]  # the film itself, without the white around it
    assert [round(level / 255) * 255 for level in levels(rows)] == expected


# ---- turned, mirrored, not square


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((-1, 0, 0, 1), (0, -1)),
        ((1, 0, 0, -1), (-1, 0)),
        ((-1, 0, 0, -1), (-1, -1)),
        ((0, 1, -1, 0), (0, -1)),
        ((0, -1, 1, 0), (-1, 0)),
        ((0, 1, 1, 0), (0, 0)),
        ((0, -1, -1, 0), (-1, -1)),
    ],
)
def test_all_eight_ways_to_show_a_film(
    matrix: tuple[int, int, int, int], corner: tuple[int, int]
) -> None:
    """Where the pixel above on the left goes, by the matrix's own formula."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    pixels[0, 1] = 100  # to its right
    shown, turned = upright(pixels, matrix)
    assert shown.shape == ((6, 4, 3) if turned else (4, 6, 3)) and shown[corner][0] == 255
    a, b, _, _ = matrix
    (row, column) = (int(np.argwhere(shown == 100)[0][axis]) for axis in (0, 1))
    top, left = int(np.argwhere(shown == 255)[0][0]), int(np.argwhere(shown == 255)[0][1])
    assert (column - left, row - top) == (a, b)


@pytest.mark.parametrize(
    "matrix", [[-1, 0, 0, 1], [1, 0, 0, -1], [0, 1, 1, 0], [0, -1, -1, 0]], ids=str
)
def test_a_mirrored_film_is_mirrored(tmp_path: Path, matrix: list[int]) -> None:
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[:10, :20] = 255
    frames = np.repeat((picture.transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32), 4, axis=0)
    write_video(tmp_path / "a.mp4", frames, 8)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    (tmp_path / "a.mp4").write_bytes(content)
    expected = upright(picture, (matrix[0], matrix[1], matrix[2], matrix[3]))[0]
    seen = (read_video(tmp_path / "a.mp4", SIZE, 1)[0].transpose(1, 2, 0) + 1) * 127.5
    assert np.abs(seen - expected).mean() < 6


@pytest.mark.parametrize("orientation", [2, 4, 5, 7])
def test_a_mirrored_photo_is_mirrored(tmp_path: Path, orientation: int) -> None:
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[:10, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    matrix = {2: (-1, 0, 0, 1), 4: (1, 0, 0, -1), 5: (0, 1, 1, 0), 7: (0, -1, -1, 0)}[orientation]
    seen = (read_image(tmp_path / "a.png", SIZE).transpose(1, 2, 0) + 1) * 127.5
    np.testing.assert_allclose(seen, upright(picture, matrix)[0], atol=0.1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    ("aspect", "width", "height"),
    [(Fraction(1, 1), 32, 16), (Fraction(1, 2), 32, 32), (Fraction(2, 1), 32, 8)],
)
def test_pixels_that_are_not_square_are_shown_in_their_shape(
    tmp_path: Path, suffix: str, aspect: Fraction, width: int, height: int
) -> None:
    path = film(tmp_path / f"a{suffix}", [0, 40, 80], [0, 0, 0], sample_aspect_ratio=aspect)
    dark = read_video(path, SIZE, 1)[0].mean(axis=0) < -0.5
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    assert (len(columns), len(rows)) == (width, height)


# ---- our own films


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".mp4"])
@pytest.mark.parametrize(
    "shown",
    [[0, 0, 255, 255], [0, 255, 255, 255], [0, 0, 0, 255], [90, 90, 200, 90], [5, 5, 5, 250, 250]],
    ids=str,
)
@pytest.mark.parametrize("rate", [4, 8, 12.5, 30])
def test_frames_that_repeat_come_back(
    tmp_path: Path, suffix: str, shown: list[int], rate: float
) -> None:
    frames = np.stack([np.full((3, SIZE, SIZE), level / 127.5 - 1, np.float32) for level in shown])
    write_video(tmp_path / f"a{suffix}", frames, rate)
    found = levels(read_video(tmp_path / f"a{suffix}", SIZE, 8))
    assert len(found) == len(shown) and np.abs(np.subtract(found, shown)).max() <= 4


@pytest.mark.parametrize(("suffix", "count"), [(".gif", 4), (".webp", 4), (".png", 4), (".mp4", 4)])
def test_a_film_of_one_picture_alone_is_a_film(tmp_path: Path, suffix: str, count: int) -> None:
    write_video(tmp_path / f"a{suffix}", np.zeros((4, 3, SIZE, SIZE), np.float32), 4)
    found = read_video(tmp_path / f"a{suffix}", SIZE, 8)
    assert len(found) == count and np.abs(found).max() < 0.02


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("rate", [3, 7, 12.5, 24, 30, 48, 50])
def test_an_animation_lasts_as_long_as_it_was_asked_to(
    tmp_path: Path, suffix: str, rate: float
) -> None:
    frames = np.linspace(-1, 1, 12, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 8, 8))
    write_video(tmp_path / f"a{suffix}", frames.astype(np.float32), rate)
    total = 0.0
    with Image.open(tmp_path / f"a{suffix}") as image:
        for index in range(12):
            image.seek(index)
            image.load()
            total += image.info["duration"]
    assert abs(total - 12000 / rate) <= (5.1 if suffix == ".gif" else 0.51)


@pytest.mark.parametrize("rate", [60, 51, 100, 1000])
def test_a_rate_that_a_gif_does_not_have_is_refused(tmp_path: Path, rate: int) -> None:
    with pytest.raises(UsageError) as raised:
        write_video(tmp_path / "a.gif", np.zeros((2, 3, 8, 8), np.float32), rate)
    assert str(raised.value) == (
        f"GIF shows at most 50 frames a second, {rate} are asked for; choose fewer, or a film"
        " (.mp4)"
    )
    assert not (tmp_path / "a.gif").exists()


# ---- sounds


def tone(count: int = 8000, rate: int = 16000) -> np.ndarray:
    return (0.5 * np.sin(np.arange(count) * 2 * np.pi * 440 / rate)).astype(np.float32)


def wav(data: bytes, bits: int = 16, claimed: int | None = None, riff: int | None = None) -> bytes:
    size, block = len(data) if claimed is None else claimed, (bits + 7) // 8
    form = struct.pack("<HHIIHH", 1, 1, 16000, 16000 * block, block, bits)
    whole = 36 + len(data) if riff is None else riff
    head = b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt \x10\0\0\0" + form
    return head + b"data" + struct.pack("<I", size) + data


PCM = (tone() * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("claimed", "riff"),
    [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0, 0xFFFFFFFF), (0x7FFFFFFF, 0x7FFFFFFF), (0, 36)],
)
def test_a_wav_whose_writer_could_not_seek_back_is_the_sound(
    tmp_path: Path, claimed: int, riff: int
) -> None:
    (tmp_path / "a.wav").write_bytes(wav(PCM, claimed=claimed, riff=riff))
    heard = read_audio(tmp_path / "a.wav", SOUND)
    np.testing.assert_allclose(heard, tone(), atol=1e-4)


@pytest.mark.parametrize("kept", [2, 100, 7998, 15998])
def test_a_wav_that_was_cut_off_is_said_to_be(tmp_path: Path, kept: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav(PCM[:kept], claimed=16000, riff=16036))
    with pytest.raises(InputError) as raised:
        read_audio(tmp_path / "a.wav", SOUND)
    assert str(raised.value) == (
        f"{tmp_path / 'a.wav'}: cut off: its header promises 16000 bytes of sound, {kept} are there"
    )


@pytest.mark.parametrize("form", ["AIFF", "AU", "W64", "RF64", "FLAC", "MP3", "OGG", "CAF"])
def test_a_sound_of_any_kind_that_was_cut_off_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form.lower()}"
    soundfile.write(path, tone(16000), 16000, format=form)
    content = path.read_bytes()
    assert len(read_audio(path, SOUND)) >= 15900
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut off|not a sound"):
        read_audio(path, SOUND)


@pytest.mark.parametrize("bits", [7, 5, 1])
def test_samples_of_less_than_a_byte_are_refused(tmp_path: Path, bits: int) -> None:
    data = (128 + 60 * tone()).astype(np.uint8).tobytes()
    (tmp_path / "a.wav").write_bytes(wav(data, bits=bits))
    with pytest.raises(InputError) as raised:
        read_audio(tmp_path / "a.wav", SOUND)
    assert str(raised.value) == (
        f"{tmp_path / 'a.wav'}: samples of {bits} bits, expected 8, 16, 24 or 32"
    )


@pytest.mark.parametrize(
    ("right", "expected"), [(-1.0, 1.0), (-0.999, 1.0), (0.0, 0.5), (1.0, 1.0), (-0.5, 0.25)]
)
def test_channels_of_opposite_phase_are_not_silence(
    tmp_path: Path, right: float, expected: float
) -> None:
    both = np.stack([tone(), right * tone()], axis=1)
    soundfile.write(tmp_path / "a.wav", both, 16000, subtype="FLOAT")
    heard = read_audio(tmp_path / "a.wav", SOUND)
    np.testing.assert_allclose(heard, expected * tone(), atol=1e-6)
    np.testing.assert_array_equal(heard, mono(both.T.astype(np.float32)))


@pytest.mark.parametrize("container", ["mp4", "adts", "matroska"])
@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_aac_of_exactly_the_longest_length_is_not_too_long(
    tmp_path: Path, container: str, rate: int
) -> None:
    samples = tone(round(rate * 1.28), rate)
    with av.open(str(tmp_path / "a.bin"), "w", format=container) as output:
        stream = output.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    heard = read_audio(tmp_path / "a.bin", SOUND)
    assert max_samples(SOUND) - 1100 <= len(heard) <= max_samples(SOUND)


# ---- deep pictures, large ones, other formats


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 2**31, 2**32 - 1], np.uint32, [0, 127, 255]),
        ([0, 2**30, 2**31 - 1], np.int32, [0, 127, 255]),
        ([0, 32768, 65535], np.uint32, [0, 127, 255]),
        ([0, 65535, 32768], np.int32, [0, 255, 127]),
    ],
)
def test_pictures_of_thirty_two_bits_keep_their_range(
    tmp_path: Path, values: list[int], kind: type, expected: list[int]
) -> None:
    deep = np.repeat(np.array(values, kind)[None], 3, axis=0)
    (tmp_path / "a.tif").write_bytes(tiff(deep))
    seen = (read_image(tmp_path / "a.tif", 3)[0, 0] + 1) * 127.5
    np.testing.assert_allclose(seen, expected, atol=1.01)


def tiff(values: np.ndarray) -> bytes:
    """A TIFF of 32 bits a pixel, signed or not, as its tag says."""
    height, width = values.shape
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, height), (279, 4, values.nbytes),
        (339, 3, 1 if values.dtype == np.uint32 else 2),
    ]  # fmt: skip
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I" if kind == 4 else "<Hxx", value)
        for tag, kind, value in tags
    )
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def png16(values: np.ndarray, clear: tuple[int, ...]) -> bytes:
    """A PNG of 16 bits a channel with one transparent colour; Pillow writes none."""
    height, width, channels = values.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    kind = 2 if channels == 3 else 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(f">{channels}H", *clear))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("pixels", "clear", "expected"),
    [
        ([[40000], [10000], [0]], (10000,), [155, 255, 0]),
        ([[40000], [10000], [65535]], (0,), [155, 38, 255]),
        ([[0], [1], [300]], (0,), [255, 0, 1]),
        ([[0, 0, 0], [40000] * 3, [65535] * 3], (65535, 0, 0), [0, 156, 255]),
        ([[0, 0, 0], [40000] * 3, [20000] * 3], (40000, 40000, 40000), [0, 255, 78]),
        ([[300, 300, 300], [0, 0, 0], [65535] * 3], (0, 0, 0), [1, 255, 255]),
    ],
)
def test_one_transparent_colour_of_sixteen_bits_is_white_and_the_others_stay(
    tmp_path: Path, pixels: list[list[int]], clear: tuple[int, ...], expected: list[int]
) -> None:
    values = np.repeat(np.array(pixels, np.uint16)[None], 3, axis=0)
    (tmp_path / "a.png").write_bytes(png16(values, clear))
    seen = (read_image(tmp_path / "a.png", 3)[0, 0] + 1) * 127.5
    np.testing.assert_allclose(seen, expected, atol=1.01)


@pytest.mark.parametrize("size", [(12000, 9000), (9000, 12000), (8200, 8200)])
def test_a_photo_of_more_pixels_than_are_decoded_comes_smaller(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """108 megapixels; memory is that of an eighth of each side."""
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "a.jpg", quality=20)
    seen = read_image(tmp_path / "a.jpg", SIZE)
    width, height = (round(side * SIZE / max(size)) for side in size)
    red = seen[0] - seen[1] > 1.0
    assert (red.any(axis=0).sum(), red.any(axis=1).sum()) == (width, height)


def test_a_large_picture_of_another_kind_is_still_refused(tmp_path: Path) -> None:
    Image.new("L", (12000, 9000)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="12000x9000 is more than 67108864 pixels, refused"):
        read_image(tmp_path / "a.png", SIZE)


@pytest.mark.parametrize("suffix", [".heic", ".heif", ".avif"])
def test_a_phone_s_photo_is_read_with_the_extra(tmp_path: Path, suffix: str) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra heif reads HEIC")
    heif.register_heif_opener()
    picture = plain(0, (64, 64))
    picture.paste((250, 20, 20), (0, 0, 64, 16))
    try:
        picture.save(tmp_path / f"a{suffix}", quality=95)
    except (KeyError, ValueError) as error:
        pytest.skip(f"this build writes no {suffix} ({error})")
    seen = read_image(tmp_path / f"a{suffix}", 64)
    assert seen[0, :14].mean() > 0.8 and seen[:, 20:].mean() < -0.8


def test_the_extra_that_reads_a_phone_s_photo_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextomni_edge.media.image._register_heif", lambda: False)
    for suffix in (".heic", ".HEIC", ".hif"):
        (tmp_path / f"a{suffix}").write_bytes(b"\0\0\0\x18ftypheic")
        with pytest.raises(InputError) as raised:
            read_image(tmp_path / f"a{suffix}", SIZE)
        assert str(raised.value).endswith("; pip install 'nextomni-edge[heif]' reads it")


def test_bytes_behind_the_sound_are_no_sound(tmp_path: Path) -> None:
    """A WAV with another chunk behind its data."""
    buffer = io.BytesIO(wav(PCM))
    (tmp_path / "a.wav").write_bytes(buffer.getvalue() + b"LIST\x04\0\0\0INFO")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", SOUND), tone(), atol=1e-4)
