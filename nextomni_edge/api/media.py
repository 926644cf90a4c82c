"""Pictures, sounds and videos of a prompt: files, or what a program holds in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from nextomni_edge.errors import UsageError
from nextomni_edge.files import StrPath
from nextomni_edge.media.memory import Picture, given_audio, given_image, given_video
from nextomni_edge.media.parts import Encoder, check_takes, file_part
from nextomni_edge.tokens.audio import heard, longest_sound
from nextomni_edge.tokens.chat import Part


@dataclass(frozen=True, eq=False)
class Image:
    """A picture: a file that Pillow decodes, a PIL image, or an array uint8 (height,width) or
    (height,width,3 or 4).

    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> model.generate(ne.Image("rocket.png")).modality
    'text'
    """

    source: StrPath | Picture

    def part(self, encoder: Encoder, trim: bool) -> Part:
        """The picture, encoded. InputError: it cannot be read."""
        if not isinstance(self.source, PIL.Image.Image | np.ndarray):
            return file_part(encoder, "image", path_of(self.source, "Image"))
        check_takes(encoder.config, "image", "a picture")
        pixels = given_image(self.source, encoder.config.image)
        return Part("image", encoder.encode("image", pixels))


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound: a file that soundfile or PyAV decodes, or samples with their rate in Hz: floats in
    [-1, 1] or int16, (samples,) or (samples,channels).

    >>> import numpy as np
    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> second = np.zeros(4_000, np.float32)
    >>> model.generate(ne.Audio(second, rate=16_000)).modality
    'text'
    """

    source: StrPath | NDArray[Any]
    rate: int | None = None

    def part(self, encoder: Encoder, trim: bool) -> Part:
        """The sound, encoded, in chunks where it is longer than the model hears at once; `trim`
        keeps the first. InputError: it cannot be read, or is longer than any prompt. UsageError:
        samples without a rate."""
        if not isinstance(self.source, np.ndarray):
            if self.rate is not None:
                raise UsageError("Audio of a file has its own rate; leave the rate out")
            return file_part(encoder, "audio", path_of(self.source, "Audio"), trim)
        if self.rate is None:
            raise UsageError("Audio of samples needs their rate: give Audio(samples, rate)")
        check_takes(encoder.config, "audio", "a sound")
        config = encoder.config.audio
        longest = longest_sound(encoder.config)
        waveform = given_audio(self.source, self.rate, config.heard, trim, longest)
        return Part("audio", encoder.encode("audio", heard(waveform, config)))


@dataclass(frozen=True, eq=False)
class Video:
    """A video: a film or an animated picture in a file, or its frames, each as an `Image` takes
    them.

    >>> import numpy as np
    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> dark, bright = np.zeros((32, 32), np.uint8), np.full((32, 32), 255, np.uint8)
    >>> model.generate(ne.Video([dark, bright])).modality
    'text'
    """

    source: StrPath | Sequence[Picture]

    def part(self, encoder: Encoder, trim: bool) -> Part:
        """The video, encoded. InputError: it cannot be read."""
        if isinstance(self.source, str | os.PathLike):
            return file_part(encoder, "video", path_of(self.source, "Video"))
        check_takes(encoder.config, "video", "a video")
        frames = given_video(self.source, encoder.config.image)
        return Part("video", encoder.encode("video", frames))


def path_of(source: object, name: str) -> Path:
    """A medium's file. UsageError: not a path."""
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"{name} of {type(source).__name__}: expected a path; see help({name})")
    return Path(source)
