"""A text or a media file as a part of a conversation: read, encoded to sub-codes once, ready for
any sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.media.audio import read_audio
from nextomni_edge.media.image import read_image
from nextomni_edge.media.kinds import check_file, wrong_kind
from nextomni_edge.media.video import read_video
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.tokens.chat import Kind, Part

MAX_TEXT_BYTES = 1 << 20
MODALITY = {"text": "text", "image": "image", "audio": "audio", "video": "image"}


class Encoder(Protocol):
    """What turning media into sub-codes (or features) needs of a model. `encode_image` takes
    (3,S,S), or several with one more axis in front."""

    @property
    def config(self) -> ModelConfig: ...

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[Any]: ...

    def encode_audio(self, log_mel: NDArray[np.float32]) -> NDArray[np.int64]: ...


class Lengths:
    """Stands in for a model where only the number of positions counts: zeros in the shapes that its
    encoders give."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        image, width = self.config.image, self.config.backbone.hidden_size
        features = image.given == "features"
        row, dtype = (width, np.float32) if features else (image.codebook.codebooks, np.int64)
        return np.zeros((*pixels.shape[:-3], image.positions, row), dtype)

    def encode_audio(self, log_mel: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.zeros((len(log_mel), self.config.audio.codebook.codebooks), np.int64)


def text_part(text: str) -> Part:
    return Part("text", text)


def file_part(encoder: Encoder, kind: Kind, path: Path, trim: bool = False) -> Part:
    """The file as a part of the given kind. InputError: the file is not of that kind, damaged or
    too long. UsageError: the model takes no such kind."""
    config = encoder.config
    check_takes(config, kind, str(path))
    if kind == "text":
        return text_part(read_text(path))
    if kind == "image":
        return media_part(encoder, kind, read_image(path, config.image.size, config.image.fitting))
    if kind == "audio":
        return media_part(encoder, kind, read_audio(path, config.audio, trim))
    return media_part(encoder, kind, read_video(path, config.image.size, config.image.max_frames))


def check_takes(config: ModelConfig, kind: Kind, name: str) -> None:
    """UsageError where the model takes nothing of this kind; `name` says what was given."""
    needed = MODALITY[kind] if kind != "video" or config.image.given == "codes" else kind
    if needed not in config.modalities:
        raise UsageError(f"{name}: this model takes {' and '.join(config.modalities)}, no {kind}")


def media_part(encoder: Encoder, kind: Kind, media: NDArray[np.float32]) -> Part:
    """Media as the encoders take them: pixels (3,S,S), a waveform (samples,) or frames
    (F,3,S,S)."""
    if kind == "audio":
        return Part(kind, encoder.encode_audio(log_mel(media, encoder.config.audio)))
    return Part(kind, encoder.encode_image(media))


def read_text(path: Path) -> str:
    """A UTF-8 file's text. InputError: larger than MAX_TEXT_BYTES, or not UTF-8."""
    check_file(path)
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise InputError(
            f"{path}: {path.stat().st_size} bytes of text, at most {MAX_TEXT_BYTES} are read"
        )
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {wrong_kind(path, 'text')} ({error})") from error
