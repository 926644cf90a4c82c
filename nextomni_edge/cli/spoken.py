"""`run --stream` of speech: each sentence is heard while the next is made."""

from __future__ import annotations

import contextlib
import queue
import struct
import sys
import threading
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.cli.streams import to_stdout
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nextomni_edge.api.model import Model
    from nextomni_edge.api.settings import Request
    from nextomni_edge.cli.console import Console
    from nextomni_edge.tokens.chat import Part

WAITING: Final = 64  # sentences that are made before the player has heard them
UNKNOWN: Final = 0xFFFF_FFFF  # a length in a header that nobody knows yet


def wav_header(rate: int) -> bytes:
    """The header of a WAV file of 16-bit samples, one channel, whose length is not known yet."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", UNKNOWN) + b"WAVE" + form + b"data" + struct.pack(
        "<I", UNKNOWN
    )  # fmt: skip


def pcm(samples: NDArray[np.float32]) -> bytes:
    """16-bit samples, little-endian."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()


def ahead(made: Iterator[bytes]) -> Generator[bytes, None, None]:
    """What another thread makes, while the caller is still busy with what was made before. An error
    of the maker's is raised here."""
    done: queue.Queue[bytes | BaseException | None] = queue.Queue(WAITING)
    left = threading.Event()

    def make() -> None:
        try:
            for data in made:
                if left.is_set():
                    return
                done.put(data)
            done.put(None)
        except BaseException as error:  # raised where it is read
            done.put(error)

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    try:
        while (data := done.get()) is not None:
            if isinstance(data, BaseException):
                raise data
            yield data
    finally:
        left.set()
        with contextlib.suppress(queue.Empty):
            done.get_nowait()  # the maker may wait for room


def speak(
    console: Console,
    model: Model,
    prompt: tuple[Part, ...],
    request: Request,
    file: Path | None,
) -> None:
    """Say a text sentence by sentence, on standard output as a WAV file, or into a file once all of
    it is made. UsageError: the model does not say texts."""
    if not model.config.speaks_only:
        raise UsageError("--stream of a sound is for models that say a text; leave it out")
    started, seconds = time.monotonic(), list[float]()
    rate = model.config.audio.sample_rate
    parts: list[NDArray[np.float32]] = []

    def made() -> Iterator[bytes]:
        yield wav_header(rate)
        for part in model.speak(prompt, **request.settings):
            seconds.append(time.monotonic() - started)
            parts.append(part)
            yield pcm(part)

    if file is None:
        with contextlib.closing(ahead(made())) as heard, to_stdout():
            for data in heard:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
    else:
        from nextomni_edge.media.audio import write_audio

        for _ in made():
            pass
        write_audio(file, np.concatenate(parts), rate)
    length = sum(map(len, parts)) / rate
    console.note(
        f"first sound after {seconds[0]:.2f} s, all {length:.2f} s of it after {seconds[-1]:.2f} s",
        level=1,
    )
