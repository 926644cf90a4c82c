"""Videos: any animation or film that Pillow or PyAV decodes, to a few uniformly spaced frames, and
back to a file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextomni_edge.errors import InputError
from nextomni_edge.files import atomic_write
from nextomni_edge.media.image import MAX_PIXELS, check_pixels, fit, format_of, open_image, to_bytes
from nextomni_edge.media.kinds import check_file, wrong_kind
from nextomni_edge.modalities.video import VIDEO
from nextomni_edge.tokens.chat import Kind

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

Float32 = NDArray[np.float32]

VIDEO_FORMATS = VIDEO.formats
# of each container: FFmpeg's encoder, and its options for good quality
FILM_CODECS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "MP4": ("libx264", {"crf": "16"}),
    "MOV": ("libx264", {"crf": "16"}),
    "WEBM": ("libvpx-vp9", {"crf": "16", "b": "0"}),
}
MAX_FRAMES = 1_000_000


def sampled(total: int, count: int) -> list[int]:
    """`count` of `total` frames, each from the middle of an equal share of the time; all of them
    where there are fewer."""
    if total <= count:
        return list(range(total))
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]


def read_video(path: Path, size: int, max_frames: int) -> Float32:
    """Up to `max_frames` uniformly spaced frames, (frames, 3, size, size) float32 in [-1, 1], each
    as read_image gives a picture. InputError: neither a film nor an animated picture, damaged, too
    large."""
    check_file(path)
    if _is_picture(path):
        return _read_animation(path, size, max_frames)
    return _read_film(path, size, max_frames)


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path, formats=["GIF", "WEBP", "PNG", "AVIF", "TIFF", "JPEG", "BMP"]):
            return True
    except Exception:  # whatever Pillow makes of it, PyAV has its own say
        return False


def _read_animation(path: Path, size: int, max_frames: int) -> Float32:
    frames = []
    with open_image(path) as image:
        total = int(getattr(image, "n_frames", 1))
        if total < 2:
            raise InputError(f"{path}: a still picture, expected a video; give it as --image")
        for index in sampled(total, max_frames):
            image.seek(index)
            frames.append(fit(image, size))
    return np.stack(frames)


@contextlib.contextmanager
def open_container(path: Path, kind: Kind) -> Iterator[InputContainer]:
    """The file opened by FFmpeg, which may open nothing else (playlists name other files); faults
    are InputErrors."""
    import av

    try:
        with (
            path.open("rb") as file,
            av.open(file, "r", options={"protocol_whitelist": "none"}) as container,
        ):
            yield container
    except InputError:
        raise
    # FFmpeg's errors, and ValueError and MemoryError for some damaged headers
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: {wrong_kind(path, kind)} ({detail})") from error


def _count_frames(path: Path) -> int:
    """Frames of the first video track, by its packets: a header's own count may be missing or
    wrong."""
    with open_container(path, "video") as container:
        if not container.streams.video:
            raise InputError(f"{path}: {wrong_kind(path, 'video')}")
        total = 0
        for packet in container.demux(video=0):
            total += packet.size > 0
            if total > MAX_FRAMES:
                raise InputError(f"{path}: more than {MAX_FRAMES} frames; cut it first")
    return total


def _read_film(path: Path, size: int, max_frames: int) -> Float32:
    wanted = set(sampled(_count_frames(path), max_frames))
    frames: list[Float32] = []
    with open_container(path, "video") as container:
        context = container.streams.video[0].codec_context
        check_pixels(path, context.width, context.height)
        context.options = {"max_pixels": str(MAX_PIXELS)}
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                turned = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                frames.append(fit(Image.fromarray(np.ascontiguousarray(turned)), size))
            if len(frames) == len(wanted):
                break
    if not frames:
        raise InputError(f"{path}: no frame could be decoded")
    return np.stack(frames)


def write_video(path: Path, frames: Float32, frames_per_second: float) -> None:
    """Write (frames, 3, height, width) in [-1, 1]; the suffix chooses the format. UsageError: an
    unknown suffix."""
    name = format_of(path, VIDEO_FORMATS)
    pictures = [to_bytes(frame) for frame in frames]
    encode = _film if name in FILM_CODECS else _animation
    encoded = encode(pictures, frames_per_second, name)
    with atomic_write(path) as file:
        file.write(encoded)


def _animation(pictures: list[NDArray[np.uint8]], frames_per_second: float, name: str) -> bytes:
    images = [Image.fromarray(picture, "RGB") for picture in pictures]
    options = {"lossless": True} if name == "WEBP" else {}
    buffer = io.BytesIO()
    duration = round(1000 / frames_per_second)
    images[0].save(
        buffer, name, save_all=True, append_images=images[1:], duration=duration, loop=0, **options
    )
    return buffer.getvalue()


def _film(pictures: list[NDArray[np.uint8]], frames_per_second: float, name: str) -> bytes:
    from fractions import Fraction

    import av

    buffer = io.BytesIO()
    height, width, _ = pictures[0].shape
    codec, options = FILM_CODECS[name]
    # without it, WebM's identifiers are random
    same = {"fflags": "+bitexact"}
    with av.open(buffer, "w", format=name.lower(), options=same) as container:
        rate = Fraction(frames_per_second).limit_denominator(1000)
        stream = cast("VideoStream", container.add_stream(codec, rate=rate))
        stream.width, stream.height, stream.pix_fmt = (
            width + width % 2,
            height + height % 2,
            "yuv420p",
        )
        stream.options = options
        for picture in pictures:
            # 4:2:0 needs even sides
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()
