"""What the demo page shows: every task of the model on inputs that training never saw.

The concepts are every fifth of the list, so that none is picked by its result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from exam import Exam
from poses import MOTIONS, SIZES, Floats, Ints
from prompts import (
    FRAMES,
    GENERATION_VOICES,
    WHAT_HAPPENS,
    WHAT_IS_THIS,
    WHAT_WAS_SAID,
    draw_prompt,
    film_prompt,
    now,
    say_prompt,
)
from samples import trained_pairs

from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond

EVERY, FORMED, MOMENTS = 5, 4, 9


@dataclass(frozen=True)
class Shown:
    """One thing on the page: text, pixels (3,S,S), a waveform (samples,), or frames (F,3,S,S)."""

    kind: Literal["text", "image", "audio", "video"]
    value: Any


@dataclass(frozen=True)
class Example:
    """A short conversation: (role, what is shown) in order. `right` is None where nothing judges
    the answer."""

    turns: tuple[tuple[str, Shown], ...]
    verdict: str
    right: bool | None


@dataclass(frozen=True)
class Task:
    title: str
    explanation: str
    examples: list[Example]
    seconds: float


@dataclass(frozen=True)
class Forming:
    """A picture at some moments of the flow, from noise to the answer: (t, pixels of x_t)."""

    prompt: str
    moments: list[tuple[float, Floats]]


@dataclass(frozen=True)
class Grid:
    """Cosines (N,N) of names against media, item i of both being the same concept."""

    title: str
    names: list[str]
    media: list[Shown]
    cosines: Floats


def user(kind: Literal["text", "image", "audio", "video"], value: Any) -> tuple[str, Shown]:
    return "user", Shown(kind, value)


def model_says(kind: Literal["text", "image", "audio", "video"], value: Any) -> tuple[str, Shown]:
    return "assistant", Shown(kind, value)


class Gallery:
    """Runs the tasks with an exam's model, judges and held-out items."""

    def __init__(self, exam: Exam) -> None:
        self.exam, self.model, emoji = exam, exam.model, exam.unseen
        self.names = emoji.concepts[::EVERY][:12]
        concepts = [emoji.concepts.index(name) for name in self.names]
        self.drawings = np.asarray([emoji.drawings(c, heldout=True)[0] for c in concepts])
        # the middle pace
        self.clips = np.asarray(
            [np.median(emoji.clips_of(c, heldout=True)).astype(int) for c in concepts]
        )
        self.drawn: Floats = emoji.pictures(self.drawings, size=64) * np.float32(2) - np.float32(1)
        self.heard: Floats = exam.waveforms(emoji, self.clips)
        self.pictures = [
            Part("image", code)
            for code in self.model.encode_image(exam.pixels(emoji, self.drawings))
        ]
        self.sounds = [Part("audio", self.model.encode_audio(waveform)) for waveform in self.heard]
        styles: dict[str, list[str]] = {}
        for name, artist in trained_pairs():
            styles.setdefault(name, []).append(artist)
        self.styles = [styles[name][i % len(styles[name])] for i, name in enumerate(self.names)]
        self.voices = [
            GENERATION_VOICES[i % len(GENERATION_VOICES)] for i in range(len(self.names))
        ]
        self.motions = [MOTIONS[i % len(MOTIONS)] for i in range(len(self.names))]

    def tasks(self, observe: Callable[[str, int, int], None]) -> list[Task]:
        """All tasks, each told of as it begins."""
        makers = [
            self.text_to_image, self.image_to_text, self.text_to_audio, self.audio_to_text,
            self.text_to_video, self.video_to_text, self.audio_to_image, self.image_to_audio,
            self.now_bigger, self.say_it,
        ]  # fmt: skip
        done = []
        for index, make in enumerate(makers):
            observe(make.__name__.replace("_", " "), index, len(makers))
            began = time.monotonic()
            title, explanation, examples = make()
            done.append(Task(title, explanation, examples, time.monotonic() - began))
        return done

    def _images(self, parts: list[Part]) -> Floats:
        return self.model.decode_image(np.stack([part.value for part in parts]))

    def _waves(self, parts: list[Part]) -> Floats:
        return self.model.decode_audio(np.stack([part.value for part in parts]))

    def _named(self, probabilities: Floats) -> list[str]:
        return [self.exam.panel.concepts[c] for c in probabilities.argmax(1)]

    def _judged(
        self, turns: list[tuple[tuple[str, Shown], ...]], found: list[str], verb: str
    ) -> list[Example]:
        return [
            Example(shown, f"the judge {verb} {name}", name == wanted)
            for shown, name, wanted in zip(turns, found, self.names, strict=True)
        ]

    def _exact(
        self, turns: list[tuple[tuple[str, Shown], ...]], said: list[str], wanted: list[str]
    ) -> list[Example]:
        return [
            Example(shown, "" if word == name else f"it is: {name}", word == name)
            for shown, word, name in zip(turns, said, wanted, strict=True)
        ]

    def text_to_image(self) -> tuple[str, str, list[Example]]:
        prompts = [draw_prompt(*pair) for pair in zip(self.names, self.styles, strict=True)]
        pixels = self._images(
            self.exam.answers("image", [(Part("text", prompt),) for prompt in prompts])
        )
        turns = [
            (user("text", prompt), model_says("image", picture))
            for prompt, picture in zip(prompts, pixels, strict=True)
        ]
        return (
            "Text → image",
            "Drawn from noise; a small network trained apart says what it sees.",
            self._judged(turns, self._named(self.exam.panel.pictures(pixels)), "sees"),
        )

    def image_to_text(self) -> tuple[str, str, list[Example]]:
        said = self._said([(picture, Part("text", WHAT_IS_THIS)) for picture in self.pictures])
        turns = [
            (user("image", drawing), user("text", WHAT_IS_THIS), model_says("text", word))
            for drawing, word in zip(self.drawn, said, strict=True)
        ]
        return (
            "Image → text",
            "Each drawing is by an artist whose version of this thing training never saw.",
            self._exact(turns, said, self.names),
        )

    def text_to_audio(self) -> tuple[str, str, list[Example]]:
        prompts = [say_prompt(*pair) for pair in zip(self.names, self.voices, strict=True)]
        spoken = self.exam.answers("audio", [(Part("text", prompt),) for prompt in prompts])
        waves = self._waves(spoken)
        again = [Part("audio", self.model.encode_audio(wave)) for wave in waves]
        read_back = self._said([(sound, Part("text", WHAT_WAS_SAID)) for sound in again])
        judged = self._named(self.exam.panel.speech(waves))
        examples = [
            Example(
                (user("text", prompt), model_says("audio", wave)),
                f"the judge hears {heard}; the model reads back {back}",
                heard == name,
            )
            for prompt, wave, heard, back, name in zip(
                prompts, waves, judged, read_back, self.names, strict=True
            )
        ]
        return (
            "Text → speech",
            (
                "Spoken from noise, then transcribed by the judge, and by the model itself from the"
                " sound alone."
            ),
            examples,
        )

    def audio_to_text(self) -> tuple[str, str, list[Example]]:
        said = self._said([(sound, Part("text", WHAT_WAS_SAID)) for sound in self.sounds])
        turns = [
            (user("audio", wave), user("text", WHAT_WAS_SAID), model_says("text", word))
            for wave, word in zip(self.heard, said, strict=True)
        ]
        return (
            "Speech → text",
            "A voice that training never heard.",
            self._exact(turns, said, self.names),
        )

    def text_to_video(self) -> tuple[str, str, list[Example]]:
        prompts = [
            film_prompt(*words) for words in zip(self.names, self.motions, self.styles, strict=True)
        ]
        films = self.exam.answers("video", [(Part("text", prompt),) for prompt in prompts], FRAMES)
        frames = [self.model.decode_image(film.value) for film in films]
        named = self._named(
            np.stack([self.exam.panel.pictures(film).mean(axis=0) for film in frames])
        )
        turns = [
            (user("text", prompt), model_says("video", film))
            for prompt, film in zip(prompts, frames, strict=True)
        ]
        return (
            "Text → video",
            "Four frames, all denoised together; the judge looks at each and is averaged.",
            self._judged(turns, named, "sees"),
        )

    def video_to_text(self) -> tuple[str, str, list[Example]]:
        emoji = self.exam.unseen
        films = [
            self.exam.frames(emoji, np.asarray([row]), kind)[0]
            for row, kind in zip(self.drawings, self.motions, strict=True)
        ]
        said = self._said(
            [
                (Part("video", self.model.encode_image(film)), Part("text", WHAT_HAPPENS))
                for film in films
            ]
        )
        wanted = [f"{name} {kind}" for name, kind in zip(self.names, self.motions, strict=True)]
        turns = [
            (user("video", film), user("text", WHAT_HAPPENS), model_says("text", words))
            for film, words in zip(films, said, strict=True)
        ]
        return "Video → text", "Held-out drawings, moved.", self._exact(turns, said, wanted)

    def audio_to_image(self) -> tuple[str, str, list[Example]]:
        asked = [f"draw it, {style} style" for style in self.styles]
        prompts = [
            (sound, Part("text", words)) for sound, words in zip(self.sounds, asked, strict=True)
        ]
        pixels = self._images(self.exam.answers("image", prompts))
        turns = [
            (user("audio", wave), user("text", words), model_says("image", picture))
            for wave, words, picture in zip(self.heard, asked, pixels, strict=True)
        ]
        named = self._named(self.exam.panel.pictures(pixels))
        return (
            "Speech → image",
            "What the unheard voice says, drawn; no text in between.",
            self._judged(turns, named, "sees"),
        )

    def image_to_audio(self) -> tuple[str, str, list[Example]]:
        asked = [f"say it, {voice} voice" for voice in self.voices]
        prompts = [
            (picture, Part("text", words))
            for picture, words in zip(self.pictures, asked, strict=True)
        ]
        waves = self._waves(self.exam.answers("audio", prompts))
        turns = [
            (user("image", drawing), user("text", words), model_says("audio", wave))
            for drawing, words, wave in zip(self.drawn, asked, waves, strict=True)
        ]
        named = self._named(self.exam.panel.speech(waves))
        return (
            "Image → speech",
            "What the unseen drawing shows, said; no text in between.",
            self._judged(turns, named, "hears"),
        )

    def now_bigger(self) -> tuple[str, str, list[Example]]:
        prompts = [draw_prompt(*pair) for pair in zip(self.names, self.styles, strict=True)]
        words = list(SIZES)
        asked = [now(words[i % len(words)]) for i in range(len(prompts))]
        first = self.exam.answers("image", [(Part("text", prompt),) for prompt in prompts])
        dialogues = [
            (
                Turn("user", (Part("text", prompt),)),
                Turn("assistant", (picture,)),
                Turn("user", (Part("text", words),)),
            )
            for prompt, picture, words in zip(prompts, first, asked, strict=True)
        ]
        pixels = self._images(self.exam.replies("image", dialogues))
        turns = [
            (
                user("text", prompt),
                model_says("image", before),
                user("text", words),
                model_says("image", after),
            )
            for prompt, before, words, after in zip(
                prompts, self._images(first), asked, pixels, strict=True
            )
        ]
        named = self._named(self.exam.panel.pictures(pixels))
        return (
            "Two turns: draw, then change",
            "The second answer is about the first.",
            self._judged(turns, named, "sees"),
        )

    def say_it(self) -> tuple[str, str, list[Example]]:
        words = self._said([(picture, Part("text", WHAT_IS_THIS)) for picture in self.pictures])
        asked = [f"say it, {voice} voice" for voice in self.voices]
        dialogues = [
            (
                Turn("user", (picture, Part("text", WHAT_IS_THIS))),
                Turn("assistant", (Part("text", word),)),
                Turn("user", (Part("text", ask),)),
            )
            for picture, word, ask in zip(self.pictures, words, asked, strict=True)
        ]
        waves = self._waves(self.exam.replies("audio", dialogues))
        turns = [
            (
                user("image", drawing),
                user("text", WHAT_IS_THIS),
                model_says("text", word),
                user("text", ask),
                model_says("audio", wave),
            )
            for drawing, word, ask, wave in zip(self.drawn, words, asked, waves, strict=True)
        ]
        named = self._named(self.exam.panel.speech(waves))
        return (
            "Two turns: name, then say",
            "The model says the word that it answered with.",
            self._judged(turns, named, "hears"),
        )

    def _said(self, prompts: list[tuple[Part, ...]]) -> list[str]:
        return [str(part.value).strip() for part in self.exam.answers("text", prompts, 1)]

    def one_picture(self) -> Part:
        """The first picture of text → image, by itself."""
        return self.exam.answers(
            "image", [(Part("text", draw_prompt(self.names[0], self.styles[0])),)]
        )[0]

    def forming(self) -> list[Forming]:
        """The first pictures of text → image again, with what they were at MOMENTS of the way."""
        model = self.model
        options = GenerationOptions.defaults(model.config, "image", **self.exam.settings)
        prompts = [draw_prompt(*pair) for pair in zip(self.names, self.styles, strict=True)][
            :FORMED
        ]
        given = [
            conversation(model.tokenizer, [Turn("user", (Part("text", prompt),))])
            for prompt in prompts
        ]
        sequences = [
            respond(segments, "image", model.config, model.tokenizer) for segments in given
        ]
        states: dict[int, dict[int, Ints]] = {}

        def keep(record: StepRecord) -> None:
            states.setdefault(record.request, {})[record.step] = record.x_t[0]

        seeds = [self.exam.seed + i for i in range(len(prompts))]
        finished = generate_batch(model, sequences, options, seeds, keep)
        chosen = sorted(
            {round(i * (options.steps - 1) / (MOMENTS - 2)) for i in range(MOMENTS - 1)}
        )
        out = []
        for request, (prompt, sequence) in enumerate(zip(prompts, finished, strict=True)):
            codes = [states[request][step] for step in chosen] + [model.response(sequence).value]
            times = [step / options.steps for step in chosen] + [1.0]
            out.append(
                Forming(prompt, list(zip(times, model.decode_image(np.stack(codes)), strict=True)))
            )
        return out

    def grids(self) -> list[Grid]:
        """Names against held-out drawings, and against the unheard voice."""
        texts = self.exam.embeddings([Part("text", name) for name in self.names])
        pictures, sounds = self.exam.embeddings(self.pictures), self.exam.embeddings(self.sounds)
        return [
            Grid(
                "Names and drawings",
                self.names,
                [Shown("image", picture) for picture in self.drawn],
                texts @ pictures.T,
            ),
            Grid(
                "Names and voices",
                self.names,
                [Shown("audio", wave) for wave in self.heard],
                texts @ sounds.T,
            ),
        ]
