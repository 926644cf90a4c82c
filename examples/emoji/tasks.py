"""The demo's tasks: what is asked, what the answer is, and how often each is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from augment import COLOURS, coloured, restyled
from catalog import Concept, load_concepts
from changes import as_drawings
from dataset import Emoji
from poses import MOTIONS, SIZES, Floats, Ints
from prompts import (
    FRAMES,
    LEAD_TOKENS,
    LIST_IT,
    LISTING_TOKENS,
    PAGE_TOKENS,
    SPELL_IT,
    WHAT_HAPPENS,
    WHAT_IS_THIS,
    WHAT_WAS_SAID,
    answer,
    dialogue,
    draw_prompt,
    film_prompt,
    listing,
    make_it,
    now,
    page,
    say_prompt,
)
from shares import SHARES
from supply import Picks, Supply, parts_of

from nextomni_edge.config import ModelConfig
from nextomni_edge.tokens.chat import (
    Part,
    Turn,
    conversation,
    embedding_sequence,
    text_response,
)
from nextomni_edge.tokens.sequence import Ids, Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.objective import Draw

NAMED = 0.25
"""Of the conditions of what crosses modalities, those that are written."""
POSED = 0.5
"""Of the batches of second turns, those whose first picture is augmented."""
LEAD_SHARE = 0.25
"""Of the batches of listings and pages, those of which a flow learns the first part alone."""


class Tasks(Supply):
    """Draws one batch of one task at a time from the training split."""

    def __init__(
        self, emoji: Emoji, tokenizer: TextTokenizer, config: ModelConfig, batch_size: int
    ) -> None:
        super().__init__(emoji, tokenizer, config, batch_size)
        self.makers: dict[str, Callable[[np.random.Generator], Draw]] = {
            name: getattr(self, name) for shares in SHARES.values() for name in shares
        }

    def draw(self, stage: str, step: int) -> Draw:
        """The batch of a stage's step, a pure function of both."""
        rng, shares = np.random.default_rng((1 + list(SHARES).index(stage), step)), SHARES[stage]
        name = rng.choice(list(shares), p=np.asarray(list(shares.values())) / sum(shares.values()))
        return self.makers[str(name)](rng)

    def _answers(
        self, parts: list[tuple[Part, ...]], responses: list[Any]
    ) -> tuple[list[Sequence], ...]:
        return (
            [
                answer(self.tokenizer, self.config, p, r)
                for p, r in zip(parts, responses, strict=True)
            ],
        )

    def text_to_image(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)
        styles = self.wished(picks, rng)
        prompts = [draw_prompt(n, a) for n, a in zip(picks.names, styles, strict=True)]
        return Draw(
            "text_to_image",
            lambda image, _: self._answers(
                [(Part("text", p),) for p in prompts], parts_of("image", image)
            ),
            self.pixels(picks.drawing),
        )

    def image_to_text(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)
        asked = Part("text", WHAT_IS_THIS)
        return Draw(
            "image_to_text",
            lambda image, _: self._answers(
                [(p, asked) for p in parts_of("image", self.seen(image, rng))], picks.names
            ),
            self.shown(picks.drawing, rng),
        )

    def image_to_listing(self, rng: np.random.Generator) -> Draw:
        return self._written(
            "image_to_listing", LIST_IT, listing, LISTING_TOKENS, self.batch_size, rng
        )

    def image_to_page(self, rng: np.random.Generator) -> Draw:
        return self._written(
            "image_to_page", SPELL_IT, page, PAGE_TOKENS, max(1, self.batch_size // 2), rng
        )

    def _written(
        self,
        task: str,
        asked: str,
        write: Callable[[Concept, str], str],
        tokens: int,
        count: int,
        rng: np.random.Generator,
    ) -> Draw:
        """A text about a drawing, longer than the blocks of the demo's answers.

        A flow learns it in two parts, as `lead_tokens` has it written: the first, or all behind a
        first part that is given. Half of the pictures beside a given first part are of something
        else: where a picture leaves doubt, that part decides.
        """
        picks, known = (
            self.picks(rng, count),
            {concept.name: concept for concept in load_concepts()},
        )
        is_lead, other = rng.random() < LEAD_SHARE, rng.random(count) < 0.5
        shown = (
            np.arange(count)
            if is_lead or self.config.causal
            else (np.arange(count) + other) % count
        )
        pairs = zip(picks.names, (picks.artists[index] for index in shown), strict=True)
        answers = [
            text_response(self.tokenizer, write(known[name], artist), tokens)
            for name, artist in pairs
        ]
        if self.config.causal:
            responses = [(Segment("text", ids, frozen=False),) for ids in answers]
        elif is_lead:
            responses = [(Segment("text", ids[:LEAD_TOKENS], frozen=False),) for ids in answers]
        else:
            responses = [
                (
                    Segment("text", ids[:LEAD_TOKENS]),
                    Segment("text", ids[LEAD_TOKENS:], frozen=False),
                )
                for ids in answers
            ]

        def build(image: Ids, _: Ids) -> tuple[list[Sequence], ...]:
            given = [
                conversation(self.tokenizer, (Turn("user", (p, Part("text", asked))),))
                for p in parts_of("image", image)
            ]
            return (
                [
                    Sequence((*prompt, *response))
                    for prompt, response in zip(given, responses, strict=True)
                ],
            )

        return Draw(task, build, self.pixels(picks.drawing[shown], rng))

    def text_to_audio(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size, spoken=True)
        prompts = [say_prompt(n, v) for n, v in zip(picks.names, picks.voices, strict=True)]
        return Draw(
            "text_to_audio",
            lambda _, audio: self._answers(
                [(Part("text", p),) for p in prompts], parts_of("audio", audio)
            ),
            log_mel=self.mels(picks.clip),
        )

    def audio_to_text(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)
        asked = Part("text", WHAT_WAS_SAID)
        return Draw(
            "audio_to_text",
            lambda _, audio: self._answers(
                [(p, asked) for p in self.heard(audio, rng)], picks.names
            ),
            log_mel=self.mels(picks.clip, rng),
        )

    def _retrieve(self, task: str, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, len(self.names), distinct=True)

        def build(image: Ids, audio: Ids) -> tuple[list[Sequence], ...]:
            shown = task == "retrieve_image"
            media = parts_of("image", self.seen(image, rng)) if shown else self.heard(audio, rng)
            texts = [Part("text", name) for name in picks.names]
            return tuple(
                [embedding_sequence(self.tokenizer, part, self.config) for part in side]
                for side in (texts, media)
            )

        if task == "retrieve_image":
            return Draw(task, build, self.shown(picks.drawing, rng))
        return Draw(task, build, log_mel=self.mels(picks.clip, rng))

    def retrieve_image(self, rng: np.random.Generator) -> Draw:
        return self._retrieve("retrieve_image", rng)

    def retrieve_audio(self, rng: np.random.Generator) -> Draw:
        return self._retrieve("retrieve_audio", rng)

    def _video(
        self, rng: np.random.Generator, shown: bool = False
    ) -> tuple[Picks, list[str], Floats]:
        """Films of one motion; as conditions where `shown`: augmented, and restyled."""
        picks = self.picks(rng, max(1, self.batch_size // 2))
        motion = str(rng.choice(MOTIONS))
        frames = (
            restyled(self.emoji.moving(picks.drawing, motion, rng, FRAMES), rng)
            if shown
            else self.emoji.motion(picks.drawing, motion, FRAMES)
        )
        pixels = frames.reshape(-1, *frames.shape[2:]) * np.float32(2) - np.float32(1)
        return picks, [motion] * len(picks.names), pixels

    def text_to_video(self, rng: np.random.Generator) -> Draw:
        picks, motions, frames = self._video(rng)
        prompts = [film_prompt(*p) for p in zip(picks.names, motions, picks.artists, strict=True)]
        return Draw(
            "text_to_video",
            lambda image, _: self._answers([(Part("text", p),) for p in prompts], _videos(image)),
            frames,
        )

    def video_to_text(self, rng: np.random.Generator) -> Draw:
        picks, motions, frames = self._video(rng, shown=True)
        asked, names = (
            Part("text", WHAT_HAPPENS),
            [f"{n} {m}" for n, m in zip(picks.names, motions, strict=True)],
        )
        return Draw(
            "video_to_text",
            lambda image, _: self._answers(
                [(p, asked) for p in _videos(self.seen(image, rng))], names
            ),
            frames,
        )

    def image_to_audio(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size, spoken=True)

        def build(image: Ids, audio: Ids) -> tuple[list[Sequence], ...]:
            asked = [Part("text", f"say it, {voice} voice") for voice in picks.voices]
            shown = named(parts_of("image", self.seen(image, rng)), picks.names, rng)
            return self._answers(list(zip(shown, asked, strict=True)), parts_of("audio", audio))

        return Draw("image_to_audio", build, self.shown(picks.drawing, rng), self.mels(picks.clip))

    def audio_to_image(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)

        def build(image: Ids, audio: Ids) -> tuple[list[Sequence], ...]:
            styles = self.wished(picks, rng)
            asked = [Part("text", f"draw it, {artist} style") for artist in styles]
            said = named(self.heard(audio, rng), picks.names, rng)
            return self._answers(list(zip(said, asked, strict=True)), parts_of("image", image))

        return Draw("audio_to_image", build, self.pixels(picks.drawing), self.mels(picks.clip, rng))

    def _first(self, picks: Picks, rng: np.random.Generator) -> tuple[Emoji, Ints]:
        """The drawings of a first turn, as rows of what can be changed: as they are, or for a share
        of the batches augmented, which leaves nothing to know by heart."""
        if rng.random() >= POSED:
            return self.emoji, picks.drawing
        return as_drawings(self.pixels(picks.drawing, rng), picks.names), np.arange(
            len(picks.names)
        )

    def _change(
        self,
        task: str,
        picks: Picks,
        word: str,
        pictures: tuple[Floats, Floats],
        parts: Callable[[Ids], list[Part]],
    ) -> Draw:
        """A drawing to order, and then what becomes of it: pictures in [0,1] before and after, the
        latter as `parts` of an answer."""
        count, (first, changed) = len(picks.names), pictures
        frames = changed.reshape(-1, *changed.shape[-3:])
        pixels = np.concatenate([first, frames]) * np.float32(2) - np.float32(1)

        def build(image: Ids, _: Ids) -> tuple[list[Sequence], ...]:
            drawn = zip(picks.names, picks.artists, parts_of("image", image[:count]), strict=True)
            turns = [
                (
                    Turn("user", (Part("text", draw_prompt(name, artist)),)),
                    Turn("assistant", (picture,)),
                    Turn("user", (Part("text", word),)),
                )
                for name, artist, picture in drawn
            ]
            return (
                [
                    dialogue(self.tokenizer, self.config, t, r)
                    for t, r in zip(turns, parts(image[count:]), strict=True)
                ],
            )

        return Draw(task, build, pixels)

    def now_bigger(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)
        word, factor = list(SIZES.items())[int(rng.integers(len(SIZES)))]
        drawings, rows = self._first(picks, rng)
        pictures = drawings.pictures(rows), drawings.scaled(rows, factor)
        return self._change("now_bigger", picks, now(word), pictures, _images)

    def now_coloured(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)
        colour = str(rng.choice(list(COLOURS)))
        drawings, rows = self._first(picks, rng)
        first = drawings.pictures(rows)
        pictures = first, coloured(first, colour)
        return self._change("now_coloured", picks, make_it(colour), pictures, _images)

    def now_moving(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, max(1, self.batch_size // 2))
        motion = str(rng.choice(MOTIONS))
        drawings, rows = self._first(picks, rng)
        pictures = drawings.pictures(rows), drawings.motion(rows, motion, FRAMES)
        return self._change("now_moving", picks, now(motion), pictures, _videos)

    def say_it(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size, spoken=True)

        def build(image: Ids, audio: Ids) -> tuple[list[Sequence], ...]:
            turns = [
                (
                    Turn("user", (p, Part("text", WHAT_IS_THIS))),
                    Turn("assistant", (Part("text", n),)),
                    Turn("user", (Part("text", f"say it, {v} voice"),)),
                )
                for p, n, v in zip(
                    parts_of("image", self.seen(image, rng)), picks.names, picks.voices, strict=True
                )
            ]
            return (
                [
                    dialogue(self.tokenizer, self.config, t, r)
                    for t, r in zip(turns, parts_of("audio", audio), strict=True)
                ],
            )

        return Draw("say_it", build, self.shown(picks.drawing, rng), self.mels(picks.clip))


def named(parts: list[Part], names: list[str], rng: np.random.Generator) -> list[Part]:
    """Conditions, a share of them replaced by their names: from "it" as a word, which is easy, to
    "it" as a sound or a picture."""
    written = rng.random(len(parts)) < NAMED
    return [
        Part("text", name) if chosen else part
        for part, name, chosen in zip(parts, names, written, strict=True)
    ]


def _images(codes: Ids) -> list[Part]:
    return parts_of("image", codes)


def _videos(codes: Ids) -> list[Part]:
    return [Part("video", frames) for frames in codes.reshape(-1, FRAMES, *codes.shape[1:])]
