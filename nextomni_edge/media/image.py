"""Pictures: any file that Pillow decodes, to the square the image encoder sees, and back to a
file."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import warnings
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from nextomni_edge.config import Fitting
from nextomni_edge.errors import InputError, UsageError, reason_of
from nextomni_edge.files import atomic_write
from nextomni_edge.media.crop import centre_crop, shape_crop, shapes
from nextomni_edge.media.kinds import open_medium, wrong_kind
from nextomni_edge.modalities.image import IMAGE

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

DEEPEST: Final = 2**32 - 1
_SAMPLE_FORMAT: Final = 339  # TIFF's tag: 1 unsigned, 2 signed
MAX_PIXELS = 1 << 26  # a phone's panorama fits; a decompression bomb does not
IMAGE_FORMATS = IMAGE.formats
HEIF_SUFFIXES: Final = (".heic", ".heif", ".hif", ".avif")
# EPS hands the file to Ghostscript, a program; the others are recognised by Pillow but not decoded
# by it.
_REFUSED_FORMATS = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})


def read_image(path: Path, size: int, fitting: Fitting = "white") -> Float32:
    """A picture as (3, size, size) float32 in [-1, 1]; in "buckets" (3, height, width) of at most
    that area.

    EXIF orientation is applied, transparency becomes white, and `fit` does the rest. An animation
    gives its first frame. InputError: no picture, damaged, or too large.
    """
    with open_medium(path) as file, open_image(path, file, size) as image:
        return fit(image, size, fitting)


@contextlib.contextmanager
def open_image(path: Path, file: BufferedReader, size: int | None = None) -> Iterator[Image.Image]:
    """An open file as a picture of Pillow. Its size is checked before a pixel is decoded, and every
    fault of the file is an InputError. A JPEG of more pixels than are decoded comes at a half, a
    quarter or an eighth of its sides, still twice `size` or more."""
    _register_heif()
    Image.init()
    formats = [name for name in Image.ID if name not in _REFUSED_FORMATS]
    try:
        with warnings.catch_warnings():
            # Pillow warns about oddities that either decode or raise below
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats) as image:
                if size is not None and math.prod(image.size) > MAX_PIXELS:
                    image.draft("RGB", (2 * size, 2 * size))
                check_pixels(path, *image.size)
                yield image
    except InputError:
        raise
    except UnidentifiedImageError as error:
        needs = "; pip install 'nextomni-edge[heif]' reads it" if _needs_heif(path) else ""
        raise InputError(f"{path}: {wrong_kind(path, 'image')}{needs}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: more than {MAX_PIXELS} pixels, refused") from error
    # a damaged file raises OSError, SyntaxError, struct.error, ValueError... by format
    except Exception as error:
        raise InputError(f"{path}: unreadable picture ({reason_of(error)})") from error


@functools.cache
def _register_heif() -> bool:
    """HEIC and AVIF, where the extra that reads them is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    if hasattr(pillow_heif, "register_avif_opener"):
        pillow_heif.register_avif_opener()
    return True


def _needs_heif(path: Path) -> bool:
    return path.suffix.lower() in HEIF_SUFFIXES and not _register_heif()


def check_pixels(path: Path, width: int, height: int, most: int = MAX_PIXELS) -> None:
    """InputError where a picture or a frame would be too large to decode."""
    if width * height > most:
        raise InputError(f"{path}: {width}x{height} is more than {most} pixels, refused")


def fit(image: Image.Image, size: int, fitting: Fitting = "white", aspect: float = 1.0) -> Float32:
    """The picture's current frame in a square, (3, size, size) float32 in [-1, 1]. `aspect` is the
    width of a pixel over its height.

    "white": bicubic, on white. "janus": as Janus and FUDOKI were trained, bilinear, sides cut to
    whole pixels, on grey 127. "crop" and "buckets": as media/crop.py says.
    """
    whole = on_white(ImageOps.exif_transpose(image), _signed(image))
    if fitting in ("crop", "buckets"):
        cut = centre_crop(whole, size) if fitting == "crop" else shape_crop(whole, shapes(size))
        return (np.asarray(cut, dtype=np.float32) / np.float32(255) * 2 - 1).transpose(2, 0, 1)
    picture, janus = whole, fitting == "janus"
    sides = (picture.width * max(1.0, aspect), picture.height * max(1.0, 1.0 / aspect))
    scale = size / max(sides)
    width, height = (max(1, int(side * scale) if janus else round(side * scale)) for side in sides)
    if picture.size != (width, height):
        kernel = Image.Resampling.BILINEAR if janus else Image.Resampling.BICUBIC
        # Pillow widens the kernel when it shrinks
        picture = picture.resize((width, height), kernel)
    square = Image.new("RGB", (size, size), (127, 127, 127) if janus else "white")
    square.paste(picture, ((size - width) // 2, (size - height) // 2))
    return (np.asarray(square, dtype=np.float32) / np.float32(127.5) - np.float32(1.0)).transpose(
        2, 0, 1
    )


def on_white(image: Image.Image, signed: bool = False) -> Image.Image:
    """RGB, 8 bits, with transparency laid on white; `signed`: whether whole numbers of 32 bits
    are."""
    if image.mode == "F":
        raise ValueError("floating-point pixels of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow's own conversion would clip it at 255
        image = _shallow(image, signed)
    elif _deep_transparency(image):
        # Pillow reads 16 bits a colour as 8, and leaves the transparent one with 16
        image.info["transparency"] = tuple(level >> 8 for level in image.info["transparency"])
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _signed(image: Image.Image) -> bool:
    """Whether a TIFF's numbers are signed."""
    return getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (1,)) in (2, (2,))


def _shallow(image: Image.Image, signed: bool) -> Image.Image:
    """16 or 32 bits a pixel as 8, with the one grey that is transparent. Values beyond 16 bits are
    taken of the whole range of 32."""
    deep = np.asarray(image).astype(np.int64)
    if not signed and image.mode == "I":
        deep &= DEEPEST
    deepest = 65535 if deep.max(initial=0) <= 65535 else DEEPEST >> int(signed)
    grey = Image.fromarray((np.clip(deep, 0, deepest) * 255 // deepest).astype(np.uint8), "L")
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8), "L"))
    return grey


def _deep_transparency(image: Image.Image) -> bool:
    clear = image.info.get("transparency")
    return image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255


def to_bytes(pixels: Float32, truncated: bool = False) -> UInt8:
    """(3, height, width) in [-1, 1] to (height, width, 3) in 0..255, rounded or cut off."""
    levels = (pixels.transpose(1, 2, 0) + np.float32(1)) * np.float32(127.5)
    levels = np.floor(levels) if truncated else np.rint(levels)
    return np.asarray(np.clip(levels, 0, 255), dtype=np.uint8)


def write_image(path: Path, pixels: Float32, truncated: bool = False) -> None:
    """Write (3, height, width) pixels in [-1, 1]; the suffix chooses the format. UsageError: an
    unknown suffix."""
    buffer = io.BytesIO()
    options = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    Image.fromarray(to_bytes(pixels, truncated), "RGB").save(
        buffer, format_of(path, IMAGE_FORMATS), **options
    )
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def enlarged(pixels: Float32, scale: int) -> Float32:
    """Pictures (..., height, width) with each pixel as a square of `scale` by `scale` pixels.
    UsageError: no whole factor from 1, or more than MAX_PIXELS pixels."""
    if scale < 1:
        raise UsageError(f"scale is {scale}, expected a whole number from 1")
    height, width = pixels.shape[-2:]
    if height * width * scale**2 > MAX_PIXELS:
        raise UsageError(
            f"scale {scale} of {width}x{height} is more than {MAX_PIXELS} pixels; choose less"
        )
    return pixels.repeat(scale, axis=-2).repeat(scale, axis=-1)


def format_of(path: Path, formats: dict[str, str]) -> str:
    """The format that a file's suffix asks for."""
    try:
        return formats[path.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"{path}: unknown suffix {path.suffix!r}; expected one of {', '.join(formats)}"
        ) from None
