"""An answer: what a sequence has generated, decoded when it is asked for."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from nextomni_edge.api.output import check_output, scaled
from nextomni_edge.errors import UsageError
from nextomni_edge.files import StrPath
from nextomni_edge.media.image import to_bytes
from nextomni_edge.modalities.modality import TEXT
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.tokens.chat import Kind, Part
from nextomni_edge.tokens.sequence import Ids, Sequence

if TYPE_CHECKING:
    from nextomni_edge.api.speaking import Speaking
    from nextomni_edge.generate.meter import Meter
    from nextomni_edge.generate.model import EdgeModel

Float32 = NDArray[np.float32]


class Answer:
    """What a model answered, of one modality. Asking for another one is a UsageError.

    meter: what the generation cost; the answers of a batch share one.

    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> answer = model.generate("draw rocket, noto style", to="image", seed=7)
    >>> answer.modality, answer.image.mode
    ('image', 'RGB')
    >>> answer.save("rocket.png", scale=4)
    >>> answer.text
    Traceback (most recent call last):
    nextomni_edge.errors.UsageError: the answer is a picture, not a text; ask for it with to="text"
    """

    def __init__(self, edge: EdgeModel, sequence: Sequence, meter: Meter) -> None:
        self.meter = meter
        self._edge, self._sequence = edge, sequence

    @functools.cached_property
    def part(self) -> Part:
        """The answer as a part of a conversation."""
        return self._edge.response(self._sequence)

    @property
    def modality(self) -> Kind:
        """text, image, audio or video."""
        return self.part.kind

    @property
    def tokens(self) -> Ids:
        """What was generated, int64: text ids (n,), <EOS> and <PAD> included, sub-codes (n,K) of a
        picture or a sound, (frames,n,K) of a video."""
        segments = [self._sequence.segments[at].tokens for at in self._sequence.generated()]
        if self.modality == "video":
            return np.stack(segments)
        if self._edge.config.mixes:
            return segments[0].reshape(-1)
        if self._edge.config.speaks_only:
            return np.concatenate(segments)
        return self._edge.image_grid(segments) if self.modality == "image" else segments[0]

    @property
    def text(self) -> str:
        """The text, up to its end."""
        self._require("text")
        return str(self.part.value)

    @property
    def image(self) -> PIL.Image.Image:
        """The picture, RGB."""
        self._require("image")
        truncated = self._edge.config.image.truncated
        return PIL.Image.fromarray(to_bytes(self.media, truncated), "RGB")

    @property
    def audio(self) -> tuple[Float32, int]:
        """The sound: (samples,) float32 in [-1,1], and their rate in Hz."""
        self._require("audio")
        return self.media, self._edge.config.audio.sample_rate

    @property
    def frames(self) -> list[PIL.Image.Image]:
        """The video's frames, RGB."""
        self._require("video")
        return [PIL.Image.fromarray(to_bytes(frame), "RGB") for frame in self.media]

    @functools.cached_property
    def media(self) -> Float32:
        """What the decoder gives: pixels (3,S,S), a waveform (samples,) or frames (F,3,S,S), in
        [-1,1]. NonFiniteError: the decoder gave NaN or infinity."""
        if isinstance(self.part.value, str):
            raise UsageError("the answer is a text, which has no media")
        return self._edge.decode(self.modality, self.part.value)

    def decoded(self) -> Answer:
        """The answer itself, its media decoded now rather than when they are looked at."""
        if self.modality != "text":
            _ = self.media
        return self

    def save(self, path: StrPath, fps: float = 8.0, scale: int = 1) -> None:
        """Write a file in one step; its suffix chooses the format.

        Pictures: .png .webp .gif .jpg .bmp; sounds: .wav .flac .ogg .mp3; videos: .gif .webp .png
        .mp4 .mov .webm at `fps` frames a second; texts: .txt .md. `scale` 4 writes each pixel as a
        square of 4 by 4. UsageError: a suffix that does not hold this answer, or a place that
        cannot be written.
        """
        place = Path(path)
        check_output(self.modality, place)
        whole = self.part.value if self.modality == TEXT else self.media
        larger = scaled(self.modality, whole, scale)
        MODALITIES[self.modality].write(place, larger, self._edge.config, fps)

    def encode(self, suffix: str, fps: float = 8.0, scale: int = 1) -> bytes:
        """What `save` writes into a file of this suffix."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"answer{suffix}"
            self.save(file, fps, scale)
            return file.read_bytes()

    def _require(self, kind: Kind) -> None:
        if self.modality != kind:
            has, wanted = MODALITIES[self.modality].title, MODALITIES[kind].title
            raise UsageError(f'the answer is {has}, not {wanted}; ask for it with to="{kind}"')

    def __str__(self) -> str:
        """The text, or a description of the media."""
        if self.modality == "text":
            return str(self.part.value)
        if self.modality == "audio":
            seconds = len(self.media) / self._edge.config.audio.sample_rate
            return f"[sound, {seconds:.2f} s]"
        height, width = self.media.shape[-2:]
        frames = f", {len(self.media)} frames" if self.modality == "video" else ""
        return f"[{MODALITIES[self.modality].title.removeprefix('a ')}, {width}x{height}{frames}]"

    def __repr__(self) -> str:
        return f"<Answer {self.part.value!r}>" if self.modality == "text" else f"<Answer {self}>"


class SpokenAnswer(Answer):
    """Speech: the sound of its parts, without long silences, at its voice's loudness."""

    def __init__(
        self, edge: EdgeModel, sequence: Sequence, meter: Meter, speaking: Speaking
    ) -> None:
        super().__init__(edge, sequence, meter)
        self._speaking = speaking

    @functools.cached_property
    def media(self) -> Float32:
        """The samples, in [-1,1]."""
        segments = [self._sequence.segments[at].tokens for at in self._sequence.generated()]
        return self._speaking.sound(segments)
