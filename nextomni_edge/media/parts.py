"""A text or a media file as a part of a conversation: read, encoded to sub-codes once, ready for
any sequence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.modalities.image import IMAGE
from nextomni_edge.modalities.modality import TEXT, Stretch
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.tokens.chat import Kind, Part


class Encoder(Protocol):
    """What turning media into sub-codes (or features) needs of a model."""

    @property
    def config(self) -> ModelConfig: ...

    def encode(self, modality: str, media: NDArray[np.float32]) -> NDArray[Any]:
        """Media as the modality's reader gives them, one or several with one more axis in front."""
        ...


class Lengths:
    """A stand-in for a model where only the number of positions counts: zeros in its encoders'
    shapes."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    def encode(self, modality: str, media: NDArray[np.float32]) -> NDArray[Any]:
        """Zeros (n,K), or (n,H) float32 where the model sees features."""
        record, image = MODALITIES[modality], self.config.image
        if record.segments == IMAGE.name and image.given == "features":
            width = self.config.backbone.hidden_size
            return np.zeros((*media.shape[:-3], image.positions, width), np.float32)
        speech = self.config.audio.speech
        if record.segments == "audio" and speech is not None:
            rows = media.shape[-2] + len(speech.listener.queries)
            width = self.config.backbone.hidden_size
            return np.zeros((*media.shape[:-2], rows, width), np.float32)
        if self.config.shares_vocabulary:
            height, width = (side // image.patch for side in media.shape[-2:])
            return np.zeros((*media.shape[:-3], height, width, 1), np.int64)
        # a medium without a length is one answer long, whatever its first axis is
        timed = record.segments == "audio"
        length = len(media) if timed else min(len(media), record.most(self.config))
        return np.zeros(record.shape(self.config, length), np.int64)


def text_part(text: str) -> Part:
    return Part("text", text)


def file_part(encoder: Encoder, kind: Kind, path: Path, trim: bool = False) -> Part:
    """The file as a part of the given kind. InputError: the file has another kind, is damaged or
    too long. UsageError: the model does not read this kind."""
    check_takes(encoder.config, kind, str(path))
    read = MODALITIES[kind].read(path, encoder.config, trim)
    return Part(kind, read if kind == TEXT else encoder.encode(kind, read))


def file_windows(encoder: Encoder, kind: Kind, path: Path) -> Iterator[Stretch]:
    """A file of any length as parts of the given kind, one after the other. Errors as
    `file_part`'s, and each is raised where the iterator meets it."""
    check_takes(encoder.config, kind, str(path))
    for stretch in MODALITIES[kind].windows(path, encoder.config):
        media = stretch.media if kind == TEXT else encoder.encode(kind, stretch.media)
        yield replace(stretch, media=Part(kind, media))


def check_takes(config: ModelConfig, kind: Kind, name: str) -> None:
    """UsageError where the model takes nothing of this kind; `name` says what was given."""
    record = MODALITIES[kind]
    # features stand for one picture, not for a frame of many
    framed = record.frames_of is not None and config.image.given == "features"
    if framed or record.segments not in config.modalities:
        raise UsageError(f"{name}: this model takes {' and '.join(config.modalities)}, no {kind}")
