"""Videos: any animation or film that Pillow or PyAV decodes, to a few uniformly spaced frames, and
back to a file."""

from __future__ import annotations

import bisect
import contextlib
import functools
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextomni_edge.errors import InputError, UsageError, reason_of
from nextomni_edge.files import atomic_write
from nextomni_edge.media.gif import reach
from nextomni_edge.media.image import MAX_PIXELS, check_pixels, fit, format_of, open_image, to_bytes
from nextomni_edge.media.kinds import open_medium, wrong_kind
from nextomni_edge.modalities.video import VIDEO
from nextomni_edge.tokens.chat import Kind

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
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
FRAME_PIXELS: Final = 1 << 23  # of an animated picture, of which Pillow keeps eight copies
FILM_WINDOW: Final = 10.0  # seconds of a film that are looked at together in a search
MAX_WINDOWS: Final = 2000  # of one file: a longer one has longer windows
# How many frames a GIF of ours had before those that repeat were merged.
FRAMES_TOLD: Final = re.compile(rb"([1-9]\d{0,5}) frames")
UNITS: Final = {"GIF": 10}  # milliseconds in which a format counts; others count them singly
# Milliseconds of an animation's frame: under the shortest nothing was meant, as browsers have it.
SHORTEST, UNSAID = 11, 100


def sampled(total: int, count: int) -> list[int]:
    """`count` of `total` frames of equal length, each from the middle of an equal share of the
    time; all of them where there are fewer."""
    return sampled_by_time(range(total), total, min(total, count))


def sampled_by_time(starts: Sequence[int], end: int, count: int) -> list[int]:
    """The frames that are shown at the times (2i+1)T/2n of a film: `starts` are the times at which
    they appear, from 0 and rising, `end` is T. A frame that is shown for long comes again."""
    times = [((2 * index + 1) * end) // (2 * count) for index in range(count)]
    return [bisect.bisect_right(starts, time) - 1 for time in times]


def read_video(path: Path, size: int, max_frames: int) -> Float32:
    """Up to `max_frames` uniformly spaced frames, (frames, 3, size, size) float32 in [-1, 1], each
    as `read_image` gives a picture. InputError: neither a film nor an animated picture, damaged, or
    too large."""
    with open_medium(path) as file:
        read = _read_animation if _is_picture(file) else _read_film
        return read(path, file, size, max_frames)


def _is_picture(file: BufferedReader) -> bool:
    try:
        with Image.open(file, formats=["GIF", "WEBP", "PNG", "AVIF", "TIFF", "JPEG", "BMP"]):
            return True
    except Exception:  # whatever Pillow makes of it, PyAV has its own say
        return False


def _read_animation(path: Path, file: BufferedReader, size: int, max_frames: int) -> Float32:
    """Frames by their durations. As many as are asked for, or as there were before a writer merged
    those that repeat: what our own GIF says, else as if each lasted as long as the shortest."""
    fitted: dict[int, Float32] = {}
    with open_image(path, file) as image:
        if image.format == "GIF":
            check_pixels(path, *reach(file), FRAME_PIXELS)
        durations = _durations(path, image)
        starts = [0, *itertools.accumulate(durations)]
        unit = UNITS.get(str(image.format), 1)
        merged = round(starts[-1] / (min(durations) + unit / 2))  # lengths are rounded to units
        told = FRAMES_TOLD.fullmatch(image.info.get("comment", b""))
        total = int(told[1]) if told else merged
        count = min(max_frames, max(len(durations), total))
        wanted = sampled_by_time(starts[:-1], starts[-1], count)
        for index in sorted(set(wanted)):
            image.seek(index)
            fitted[index] = fit(image, size)
    return np.stack([fitted[index] for index in wanted])


def _durations(path: Path, image: Image.Image) -> list[int]:
    """Milliseconds of each frame. InputError: a still picture, or too many frames."""
    total = int(getattr(image, "n_frames", 1))
    # a film of a single picture is merged to one frame, which a GIF gives a duration
    if total < 2 and not image.info.get("duration"):
        raise InputError(f"{path}: a still picture, expected a video; give it as --image")
    if total > MAX_FRAMES:
        raise InputError(f"{path}: more than {MAX_FRAMES} frames; cut it first")
    found = []
    for index in range(total):
        image.seek(index)
        check_pixels(path, *image.size, FRAME_PIXELS)
        image.load()  # a WebP tells the duration only then
        found.append(round(float(image.info.get("duration") or 0)))
    # as browsers do: shorter ones were never meant
    return [UNSAID if duration < SHORTEST else duration for duration in found]


@contextlib.contextmanager
def open_container(path: Path, file: BufferedReader, kind: Kind) -> Iterator[InputContainer]:
    """An open file as FFmpeg sees it from its beginning. FFmpeg may open no other file: playlists
    name some. Faults are InputErrors."""
    import av

    try:
        file.seek(0)
        with av.open(file, "r", options={"protocol_whitelist": "none"}) as container:
            yield container
    except InputError:
        raise
    # FFmpeg's errors, and ValueError and MemoryError for some damaged headers
    except Exception as error:
        raise InputError(f"{path}: {wrong_kind(path, kind)} ({reason_of(error)})") from error


def _film_times(path: Path, file: BufferedReader) -> tuple[list[int], int, float]:
    """When each frame of the first video track is shown, rising, and when the last one ends, in the
    track's units of time, and the seconds of such a unit. All are from the packets: a header's own
    count may be missing or wrong. A track without times has equal ones."""
    starts, lengths, packets = list[int](), list[int](), 0
    with open_container(path, file, "video") as container:
        if not container.streams.video:
            raise InputError(f"{path}: {wrong_kind(path, 'video')}")
        stream = container.streams.video[0]
        unit, rate = float(stream.time_base or 0), float(stream.average_rate or 0)
        for packet in container.demux(video=0):
            if not packet.size or packet.is_discard:
                continue
            packets += 1
            if packet.pts is not None:
                starts.append(packet.pts)
                lengths.append(packet.duration or 0)
            if packets > MAX_FRAMES:
                raise InputError(f"{path}: more than {MAX_FRAMES} frames; cut it first")
    if len(starts) < packets or not starts:
        return list(range(packets)), packets, 1 / rate if rate else 0.0
    order = sorted(range(packets), key=starts.__getitem__)
    starts, last = [starts[index] for index in order], lengths[order[-1]]
    steps = [after - before for before, after in itertools.pairwise(starts)]
    end = starts[-1] + (last or (sorted(steps)[len(steps) // 2] if steps else 1))
    return starts, end, unit


def _read_film(path: Path, file: BufferedReader, size: int, max_frames: int) -> Float32:
    starts, end, _ = _film_times(path, file)
    targets = _targets(path, starts, end, min(max_frames, len(starts)))
    return np.stack(list(_frames_at(path, file, size, starts, targets)))


def film_windows(
    path: Path, size: int, max_frames: int
) -> Iterator[tuple[float | None, float | None, Float32]]:
    """Equal shares of a film, of about FILM_WINDOW seconds: their first and last seconds, and
    frames as `read_video` gives them. None for the seconds of a film that is one share, and of
    every animated picture. Errors as `read_video`'s."""
    with open_medium(path) as file:
        if _is_picture(file):
            yield None, None, _read_animation(path, file, size, max_frames)
            return
        starts, end, unit = _film_times(path, file)
        seconds = (end - starts[0]) * unit if starts else 0.0
        shares = min(round(seconds / FILM_WINDOW), MAX_WINDOWS)
        if shares <= 1:
            yield None, None, _read_film(path, file, size, max_frames)
            return
        targets = _targets(path, starts, end, shares * max_frames)
        frames = _frames_at(path, file, size, starts, targets)
        for index in range(shares):
            first, last = (share * seconds / shares for share in (index, index + 1))
            yield first, last, np.stack(list(itertools.islice(frames, max_frames)))


def _targets(path: Path, starts: list[int], end: int, count: int) -> list[int]:
    """When the frames are shown that stand for a film, in its units of time. InputError: a film
    without frames."""
    if not starts:
        raise InputError(f"{path}: no frame could be decoded")
    shown = [start - starts[0] for start in starts]
    return [starts[index] for index in sampled_by_time(shown, end - starts[0], count)]


def _frames_at(
    path: Path, file: BufferedReader, size: int, starts: list[int], targets: list[int]
) -> Iterator[Float32]:
    """The fitted frame of each target, of which none lies before the one in front. InputError: no
    frame can be decoded."""
    from av.video.reformatter import VideoReformatter

    counted, given = starts == list(range(len(starts))), 0
    last: Float32 | None = None
    with open_container(path, file, "video") as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        check_pixels(path, context.width, context.height)
        context.options = {"max_pixels": str(MAX_PIXELS)}
        fitted = functools.partial(_fit_frame, stream, VideoReformatter(), size)
        before = None
        for index, frame in enumerate(container.decode(video=0)):
            at = index if counted or frame.pts is None else frame.pts
            # a frame that is missing is replaced by the one before it
            while given < len(targets) and at > targets[given] and before is not None:
                last = fitted(before)
                yield last
                given += 1
            before = frame
            if given < len(targets) and at >= targets[given]:
                last = fitted(frame)
                while given < len(targets) and at >= targets[given]:
                    yield last
                    given += 1
            if given == len(targets):
                return
    if last is None:
        raise InputError(f"{path}: no frame could be decoded")
    # the end is damaged: its last picture stands on
    yield from [last] * (len(targets) - given)


def _fit_frame(
    stream: VideoStream, reformatter: VideoReformatter, size: int, frame: VideoFrame
) -> Float32:
    """A frame as it is shown: turned and mirrored by its display matrix, its pixels square. A
    film's frames share the reformatter, whose threads take milliseconds to start."""
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    rgb = reformatter.reformat(frame, format="rgb24").to_ndarray().astype(np.uint8, copy=False)
    pixels, turned = upright(rgb, _display_matrix(frame))
    return fit(
        Image.fromarray(np.ascontiguousarray(pixels)),
        size,
        aspect=1.0 / aspect if turned else aspect,
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """a, b, c, d of the matrix that takes (x, y) to (a·x + c·y, b·x + d·y), y downwards."""
    from av.sidedata.sidedata import Type

    side_data: Any = frame.side_data  # its stubs give it keys of text
    data = side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return 1, 0, 0, 1
    nine = np.frombuffer(bytes(data), np.int32)
    return int(nine[0]), int(nine[1]), int(nine[3]), int(nine[4])


def upright(
    pixels: NDArray[np.uint8], matrix: tuple[int, int, int, int]
) -> tuple[NDArray[np.uint8], bool]:
    """Pixels (height, width, 3) as a display matrix shows them, in quarter turns and mirrored, and
    whether the sides change places."""
    a, b, c, d = matrix
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    if turned:
        pixels, down, across = pixels.swapaxes(0, 1), b, c
    else:
        down, across = d, a
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1], turned


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
    """Durations are whole units of the format's, and add up to the film's. UsageError: shorter
    frames than a GIF shows."""
    unit = UNITS.get(name, 1)
    if frames_per_second > 500 / unit:
        raise UsageError(
            f"{name} shows at most {500 // unit} frames a second, {frames_per_second:g} are asked"
            " for; choose fewer, or a film (.mp4)"
        )
    ends = [round(count * 1000 / (unit * frames_per_second)) for count in range(len(pictures) + 1)]
    durations = [unit * (after - before) for before, after in itertools.pairwise(ends)]
    options: dict[str, Any] = {"lossless": True} if name == "WEBP" else {}
    if name == "GIF":
        options["comment"] = b"%d frames" % len(pictures)
    images = [Image.fromarray(picture, "RGB") for picture in _apart(pictures, name)]
    buffer = io.BytesIO()
    images[0].save(
        buffer, name, save_all=True, append_images=images[1:], duration=durations, loop=0, **options
    )
    return buffer.getvalue()


def _apart(pictures: list[NDArray[np.uint8]], name: str) -> list[NDArray[np.uint8]]:
    """Pillow merges frames that repeat, and makes a film of a single picture a still picture. One
    level of one corner keeps them apart. A GIF's palette would lose it: that has a comment."""
    apart = pictures[:1]
    for picture in pictures[1:]:
        repeats = name != "GIF" and np.array_equal(picture, apart[-1])
        apart.append(picture.copy() if repeats else picture)
        if repeats:
            apart[-1][-1, -1, -1] ^= 1
    return apart


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
