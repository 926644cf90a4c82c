"""Sharded samples as the batches of a stage.

A sample's files are `asked.txt`, what the user says; `asked.png` or another picture, `asked.wav`
or another sound, `asked.mp4` or another film, where the source gives one; and the answer, of the
source's kind, as `answer.txt`, `answer.png`, and so on. A warm-up reads the answers, and
`asked.txt` as their captions.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.tokens.chat import Part, Turn, conversation, part_segments, text_response
from nextomni_edge.tokens.sequence import Ids, Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.objective import Draw
from nextomni_edge.train.stages import Source, Stage
from nextomni_edge.train.stream import Sample, Shards

Float32 = NDArray[np.float32]


class Samples:
    """The sources of a stage, each a folder of `data` with its shards."""

    def __init__(
        self, data: Path, stage: Stage, config: ModelConfig, tokenizer: TextTokenizer
    ) -> None:
        self.stage, self.config, self.tokenizer = stage, config, tokenizer
        self.shards = {source.name: Shards(data / source.name) for source in stage.mixture}

    def batch(self, number: int) -> tuple[Source, list[Sample]]:
        """The samples of a batch's number, all of one source."""
        source, place = self.stage.source(number)
        return source, self.shards[source.name].batch(place, self.stage.batch)

    def draw(self, number: int) -> Draw:
        """A batch of the flow."""
        source, samples = self.batch(number)
        read = [self._media(source, sample) for sample in samples]
        images = [media for one in read for kind, media in one if kind == "image"]
        frames = [
            frame for one in read for kind, media in one if kind == "video" for frame in media
        ]
        sounds = [media for one in read for kind, media in one if kind == "audio"]

        def build(pixel_codes: Ids, sound_codes: Ids) -> tuple[list[Sequence], ...]:
            images_left = iter(pixel_codes[: len(images)])
            frames_left = iter(pixel_codes[len(images) :])
            sounds_left = iter(zip(sound_codes, map(len, sounds), strict=False))

            def codes(kind: str, media: Float32) -> Ids:
                if kind == "audio":
                    found, length = next(sounds_left)
                    return found[:length]
                if kind == "image":
                    return next(images_left)
                return np.stack([next(frames_left) for _ in media])

            coded = [[codes(kind, media) for kind, media in one] for one in read]
            return ([self._sequence(source, *pair) for pair in zip(samples, coded, strict=True)],)

        pixels = [*images, *frames]
        return Draw(
            source.name,
            build,
            np.stack(pixels) if pixels else None,
            padded(sounds) if sounds else None,
        )

    def warm_up(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Media, and their captions' tokens with where each begins."""
        source, samples = self.batch(number)
        read = [media for sample in samples for _, media in self._media(source, sample)]
        media = padded(read) if source.answer == "audio" else np.stack(read)
        special = self.tokenizer.special.eos
        captions = [
            [*self.tokenizer.encode(self._text(source, sample, "asked")), special]
            for sample in samples
        ]
        starts = np.cumsum([0, *map(len, captions[:-1])])
        return (
            torch.from_numpy(media),
            torch.tensor([*itertools.chain(*captions)]),
            torch.from_numpy(starts),
        )

    def _media(self, source: Source, sample: Sample) -> list[tuple[str, Float32]]:
        """The media of a sample in their order, the answer's last."""
        found = [(kind, self._medium(source, sample, "asked", kind)) for kind in source.given]
        if source.answer != "text":
            answer = self._medium(source, sample, "answer", source.answer)
            found.append((source.answer, answer))
        return found

    def _medium(self, source: Source, sample: Sample, role: str, kind: str) -> Float32:
        """A medium as its encoder takes it. The readers of a person's files read it, from a
        file."""
        record = MODALITIES[kind]
        for suffix in (*record.suffixes, *record.formats):
            if (data := sample.get(f"{role}{suffix}")) is not None:
                with tempfile.NamedTemporaryFile(suffix=suffix) as file:
                    file.write(data)
                    file.flush()
                    found: Float32 = record.read(Path(file.name), self.config, trim=True)
                    return found
        raise InputError(
            f"source {source.name!r}: a sample has {', '.join(sample)}, but no {role} {kind}"
        )

    def _text(self, source: Source, sample: Sample, role: str) -> str:
        if f"{role}.txt" not in sample:
            raise InputError(f"source {source.name!r}: a sample has no {role}.txt")
        try:
            return sample[f"{role}.txt"].decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"source {source.name!r}: {role}.txt is not UTF-8") from error

    def _sequence(self, source: Source, sample: Sample, coded: list[Ids]) -> Sequence:
        """Prompt and answer. InputError: longer than the stage's context."""
        media = [Part(kind, codes) for kind, codes in zip(source.media, coded, strict=True)]
        given = media[: len(source.given)]
        asked = (*given, Part("text", self._text(source, sample, "asked")))
        if source.answer == "text":
            said = self._text(source, sample, "answer")
            ids = text_response(self.tokenizer, said, self.config.text.block_size)
            answer: tuple[Segment, ...] = (Segment("text", ids, False),)
        else:
            answer = part_segments(self.tokenizer, media[-1], False)
        opening = conversation(self.tokenizer, [Turn("user", asked)], source.answer)
        sequence = Sequence((*opening, *answer))
        if sequence.length > (self.stage.context or 0):
            raise InputError(
                f"source {source.name!r}: a sample has {sequence.length} rows, the context of stage"
                f" {self.stage.name!r} is {self.stage.context}; shorten it"
            )
        return sequence


def padded(sounds: list[Float32]) -> Float32:
    """Log-mel of several sounds (n,N,F,mels), the shorter ones with silence behind them."""
    longest = max(map(len, sounds))
    silent = [((0, longest - len(sound)), (0, 0), (0, 0)) for sound in sounds]
    return np.stack(
        [
            np.pad(sound, width, constant_values=float(sound.min()))
            for sound, width in zip(sounds, silent, strict=True)
        ]
    )
