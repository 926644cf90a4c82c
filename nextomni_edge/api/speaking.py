"""Texts that a model says: each in pieces, one after another in one voice, as OmniVoice's command
makes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.api.settings import Request
from nextomni_edge.api.voice import given_voice
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.loop import steps
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.steps import StepRecord, Steps, StoppedError, run_through
from nextomni_edge.media.silence import (
    PEAK,
    at_loudness,
    bordered,
    edged,
    joined,
    without_silence,
)
from nextomni_edge.tokens.chat import Turn
from nextomni_edge.tokens.duration import tokens
from nextomni_edge.tokens.languages import code
from nextomni_edge.tokens.omnivoice import Speech, Voice, prompt, respond
from nextomni_edge.tokens.sentences import pieces, sentences
from nextomni_edge.tokens.sequence import Ids, Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.voice_design import designed

Float32 = NDArray[np.float32]
LONG, PIECE = 30.0, 15.0  # seconds over which a text is cut, and about which a piece takes
MOST_PIECES: Final = 4096
MIDDLE: Final = 500  # milliseconds of silence that speech keeps on either side
MANY: Final = 2**20  # seeds of requests are this far apart from those of their pieces


@dataclass(frozen=True)
class Said:
    """A text to say: in `parts`, each in the voice and with the settings of `speech`. `speed` is a
    multiple of the voice's pace. `tokens` of the sound where it is one part; None where each part
    takes what it needs."""

    speech: Speech
    parts: tuple[str, ...]
    speed: float
    tokens: int | None

    def part(self, index: int, first: Ids | None = None) -> tuple[Speech, int]:
        """One part, and how many tokens it takes. Without a voice the later parts are in that of
        the `first`."""
        voice = self.speech.voice
        if voice is None and first is not None and index:
            voice = Voice(first, self.parts[0], 1.0)
        speech = replace(self.speech, text=self.parts[index], voice=voice)
        return speech, self.tokens or _tokens(speech, self.speed)


def _tokens(speech: Speech, speed: float) -> int:
    voice = speech.voice
    return tokens(speech.text, voice.text if voice else "", len(voice.codes) if voice else 0, speed)


def said(
    config: ModelConfig, turns: Many[Turn], settings: Mapping[str, Any], voice: Voice | None,
    by_sentence: bool = False,
) -> Said:  # fmt: skip
    """The plan of one text: how long it takes, and the parts that it is cut into where that is over
    30 s, or its sentences. UsageError: no text to say, or settings that cannot be."""
    text = _text(turns)
    speech = Speech(
        text, code(settings["language"]) if "language" in settings else None,
        designed(str(settings.get("voice_design", "")), text), voice,
        not settings.get("keep_noise", False),
    )  # fmt: skip
    asked, speed = settings.get("seconds"), settings.get("speed", 1.0)
    if not (math.isfinite(speed) and 0.05 <= speed <= 20.0):
        raise UsageError(f"speed is {speed}, expected 0.05 to 20")
    rate = math.ceil(config.audio.sample_rate / (config.audio.hop * config.audio.frames_per_token))
    count = _tokens(speech, 1.0 if asked is not None else speed)
    if asked is not None:
        wanted = max(1, int(asked * rate)) if 0 < asked < 2**20 else 0
        if not wanted:
            raise UsageError(f"seconds is {asked}, expected a length of speech")
        speed, count = count / wanted, wanted
    parts: tuple[str, ...] = (text,)
    if by_sentence:
        parts = tuple(sentences(text))
    elif count > int(LONG * rate):
        parts = tuple(pieces(text, int(PIECE * rate / (count / len(text)))))
    whole = len(parts) == 1 and (by_sentence or count <= int(LONG * rate))
    if len(parts) > MOST_PIECES:
        raise UsageError(f"a text of {len(parts)} parts, at most {MOST_PIECES} are said; cut it")
    found = Said(speech, parts, speed, count if whole else None)
    most = config.audio.max_positions
    longest = max(found.part(index)[1] for index in range(len(parts)))
    if longest > most:
        raise UsageError(
            f"{longest / rate:.0f} s without a break, at most {most / rate:.0f} s: put full stops"
            " into the text"
        )
    return found


def _text(turns: Many[Turn]) -> str:
    """The text to say. UsageError: something else, or nothing that can be said."""
    found = [part.value for turn in turns for part in turn.parts]
    if len(found) != 1 or not isinstance(found[0], str):
        raise UsageError("this model says one text: give that only, and a clip of a voice as voice")
    if not any(character.isalnum() for character in found[0]):
        raise UsageError("the text has no word in it: write what is to be said")
    return found[0]


def first_sequence(tokenizer: TextTokenizer, config: ModelConfig, plan: Said) -> Sequence:
    """The sequence of the first part. UsageError: it is longer than the model takes."""
    return sequence_of(tokenizer, config, *plan.part(0))


def sequence_of(
    tokenizer: TextTokenizer, config: ModelConfig, speech: Speech, count: int
) -> Sequence:
    """One part's sequence. UsageError: it is longer than the model takes."""
    found = respond(prompt(tokenizer, speech), "audio", config, count)
    limit = config.backbone.max_positions
    if found.length > limit:
        raise UsageError(
            f"the text and its voice are {found.length} positions, the model takes {limit}; shorten"
            " them"
        )
    return found


class Speaking:
    """Texts on their way. All say their first part together, then their second, and so on; each
    part's tokens depend on its own text and seed only."""

    def __init__(
        self,
        edge: EdgeModel,
        conversations: Many[Many[Turn]],
        request: Request,
        by_sentence: bool = False,
    ) -> None:
        if request.kind != "audio":
            raise UsageError(f"modality {request.kind!r}: this model answers in audio")
        self.edge, self.settings = edge, request.settings
        self.options = request.options(edge.config)
        voice = given_voice(edge, request.settings)
        self.loudness = None if voice is None else voice.loudness
        self.plans = [
            said(edge.config, turns, request.settings, voice, by_sentence)
            for turns in conversations
        ]
        self.done: list[list[Ids]] = [[] for _ in self.plans]
        self.sequences = [first_sequence(edge.tokenizer, edge.config, plan) for plan in self.plans]
        self.rounds = max(len(plan.parts) for plan in self.plans)
        self.total = self.rounds * self.options.steps

    def steps(self, seeds: Many[int] | None, meter: Meter, margins: bool) -> Steps:
        """All steps of all parts; the value holds each text's parts as generated segments."""
        for index in range(self.rounds):
            yield from self.round(index, seeds, meter, margins)
        return [self.finished(request) for request in range(len(self.plans))]

    def round(self, index: int, seeds: Many[int] | None, meter: Meter, margins: bool) -> Steps:
        """Part `index` of every text that has one."""
        at = [i for i, plan in enumerate(self.plans) if index < len(plan.parts)]
        config, tokenizer = self.edge.config, self.edge.tokenizer
        parts = [
            sequence_of(
                tokenizer, config,
                *self.plans[i].part(index, self.done[i][0] if self.done[i] else None),
            )
            for i in at
        ]  # fmt: skip
        own = [((seeds[i] if seeds else self.options.seed) + index * MANY) % 2**64 for i in at]
        try:
            running = steps(self.edge, parts, self.options, own, meter, margins)
            ended = yield from self._renamed(running, at, index)
        except StoppedError as error:
            partial = [self.finished(request) for request in range(len(self.plans))]
            raise StoppedError(str(error), partial) from error
        for i, sequence in zip(at, ended, strict=True):
            self.done[i].append(sequence.segments[-1].tokens)
        return ended

    def _renamed(self, running: Steps, at: list[int], index: int) -> Steps:
        """The records of a round, as those of whole texts."""
        while True:
            try:
                record = next(running)
            except StopIteration as end:
                value: list[Sequence] = end.value
                return value
            done = tuple(self.done[at[record.request]])
            certain = tuple(np.full(codes.shape, np.inf) for codes in done)
            yield StepRecord(
                at[record.request], record.step + index * self.options.steps,
                (index + record.t) / self.rounds, (*done, *record.x_t),
                None if record.x_1 is None else (*done, *record.x_1),
                None if record.margins is None else (*certain, *record.margins),
            )  # fmt: skip

    def finished(self, request: int) -> Sequence:
        """What one text's parts are so far."""
        return spoken(self.done[request])

    def sound(self, parts: Many[Ids]) -> Float32:
        """The samples of a text's parts, finished as the command's."""
        rate = self.edge.config.audio.sample_rate
        sound = joined([self.edge.decode("audio", codes) for codes in parts], rate)
        return edged(at_loudness(self._shortened(sound), self.loudness), rate)

    def _shortened(self, sound: Float32) -> Float32:
        if self.settings.get("keep_silence", False):
            return sound
        return without_silence(sound, self.edge.config.audio.sample_rate, MIDDLE)

    def heard(self, meter: Meter) -> Iterator[Float32]:
        """The one text's sound (samples,), a part as soon as it is made. Without a voice, the first
        part's peak sets the loudness of all."""
        rate, gain = self.edge.config.audio.sample_rate, None
        for index in range(self.rounds):
            run_through(self.round(index, None, meter, False))
            sound = self._shortened(self.edge.decode("audio", self.done[0][index]))
            if self.loudness is not None:
                sound = at_loudness(sound, self.loudness)
            else:
                peak = float(np.abs(sound).max(initial=0.0))
                gain = gain or (PEAK / peak if peak > 1e-6 else None)
                sound = np.clip(sound * (gain or 1.0), -1.0, 1.0)
            last = index == self.rounds - 1
            parts = bordered(sound, rate, index > 0, not last)
            yield (
                np.concatenate(parts)
                if index > 0 and not last
                else edged(np.concatenate(parts), rate, index == 0, last)
            )


def spoken(parts: Many[Ids]) -> Sequence:
    """Codes (n,K) of a text's parts as a sequence of generated segments."""
    return Sequence(tuple(Segment("audio", codes, frozen=False) for codes in parts))
