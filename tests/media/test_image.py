"""Pictures as people have them: turned, transparent, deep, animated, huge, broken; and what comes
back from a file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.media.image import read_image, write_image

WHITE = 1.0


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_pixels_are_exact_at_the_models_own_size(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    pixels = read_image(save(tmp_path / "a.png", Image.fromarray(values)), 16)
    assert pixels.shape == (3, 16, 16) and pixels.dtype == np.float32
    np.testing.assert_array_equal(np.rint((pixels + 1) * 127.5).transpose(1, 2, 0), values)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    half.paste((0, 0, 0, 255), (0, 0, 8, 16))
    pixels = read_image(save(tmp_path / "a.png", half), 16)
    assert (pixels[:, :, :8] == -1.0).all() and (pixels[:, :, 8:] == WHITE).all()


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_every_kind_of_transparency_is_seen(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (16, 16), (10, 20, 30, 0)).convert(mode)
    assert (read_image(save(tmp_path / "a.png", clear), 16) == WHITE).all()


def test_aspect_is_kept_and_padding_is_white_and_centred(tmp_path: Path) -> None:
    pixels = read_image(save(tmp_path / "wide.png", Image.new("RGB", (80, 40), "black")), 16)
    assert (
        (pixels[:, :4] == WHITE).all()
        and (pixels[:, 4:12] == -1.0).all()
        and (pixels[:, 12:] == WHITE).all()
    )


def test_shrinking_averages_rather_than_picks(tmp_path: Path) -> None:
    stripes = np.zeros((160, 160, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = read_image(save(tmp_path / "stripes.png", Image.fromarray(stripes)), 16)
    assert np.abs(pixels[:, 2:-2, 2:-2]).max() < 0.1


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), "white")
    image.paste((0, 0, 0), (0, 0, 16, 4))  # black above
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: black to the right
    pixels = read_image(save(tmp_path / "phone.png", image, exif=exif), 16)
    assert pixels[:, :, 13:].max() == -1.0 and pixels[:, :, :11].min() == WHITE


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    pixels = read_image(save(tmp_path / "deep.png", Image.fromarray(ramp)), 16)
    np.testing.assert_array_equal(np.rint((pixels[0] + 1) * 127.5).reshape(-1), np.arange(256))


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    pixels = read_image(
        save(tmp_path / f"a.{suffix}", Image.new("RGB", (16, 16), "white").convert(mode)), 16
    )
    assert pixels.min() > 0.95


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_what_is_written_losslessly_comes_back(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(1).uniform(-1, 1, (3, 16, 16)).astype(np.float32)
    write_image(tmp_path / f"a{suffix}", pixels)
    assert np.abs(read_image(tmp_path / f"a{suffix}", 16) - pixels).max() <= 1 / 254


def test_an_unknown_suffix_to_write_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"out\.xyz: unknown suffix '\.xyz'; expected one of \.png"
    ):
        write_image(tmp_path / "out.xyz", np.zeros((3, 16, 16), dtype=np.float32))
    assert not list(tmp_path.iterdir())


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )


def truncated() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()[:1000]


HOSTILE = {
    "empty.png": (b"", "the file is empty"),
    "text.png": (b"not a picture at all", "not a picture that Pillow decodes"),
    "clip.wav": (b"RIFF....WAVE", "it looks like a sound: give it as --audio"),
    "cut.png": (truncated(), "unreadable picture"),
    "large.png": (png_claiming(12_000, 6_000), "12000x6000 is more than 67108864 pixels, refused"),
    "bomb.png": (png_claiming(50_000, 50_000), "more than 67108864 pixels, refused"),
    "missing-data.png": (png_claiming(64, 64), "unreadable picture"),
    "script.eps": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "not a picture that Pillow decodes",
    ),
    "header.bmp": (b"BM" + b"\xff" * 60, "picture"),
    "loop.gif": (b"GIF89a\xff\xff\xff\xff\xf7\x00\x00", "picture"),
}


@pytest.mark.usefixtures("within_bounds")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_is_one_clear_line(tmp_path: Path, name: str) -> None:
    content, expected = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / name, 16)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_floating_point_pixels_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.zeros((4, 4), dtype=np.float32)))
    with pytest.raises(InputError, match=r"a\.tif: unreadable picture \(floating-point pixels"):
        read_image(path, 16)


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, expected in [
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "a folder, expected a regular file"),
        (Path("a" * 5000), "cannot be opened"),
    ]:
        with pytest.raises(InputError, match=expected):
            read_image(path, 16)


def test_a_picture_for_janus_is_fitted_as_janus_was_trained(tmp_path: Path) -> None:
    """Longest side to the square's, bilinear, whole pixels cut down, in the middle of grey 127; (x
    / 255 − 0.5) / 0.5."""
    values = np.random.default_rng(1).integers(0, 256, (13, 37, 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    pixels = read_image(save(tmp_path / "a.png", picture), 32, "janus")
    # 13 · 32 / 37 = 11.2
    resized = np.asarray(picture.resize((32, 11), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_allclose(
        pixels.transpose(1, 2, 0)[10:21], (resized / 255 - 0.5) / 0.5, atol=1e-6
    )
    border = np.concatenate((pixels[:, :10], pixels[:, 21:]), axis=1)
    np.testing.assert_allclose(border, (127 / 255 - 0.5) / 0.5, atol=1e-6)
