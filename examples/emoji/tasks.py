"""The demo's tasks: what is asked, what the answer is, and how often each is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from augment import another_speaker, misheard
from catalog import Concept, load_concepts
from dataset import MOTIONS, Emoji
from numpy.typing import NDArray
from prompts import (
    FRAMES,
    GENERATION_VOICES,
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
    page,
    say_prompt,
)

from nextomni_edge.config import ModelConfig
from nextomni_edge.tokens.audio import log_mel
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

SHARES = {
    "flow": {
        "text_to_image": 0.30, "image_to_text": 0.11, "text_to_audio": 0.17, "audio_to_text": 0.12,
        "retrieve_image": 0.06, "retrieve_audio": 0.04, "text_to_video": 0.07,
        "video_to_text": 0.02, "image_to_audio": 0.03, "audio_to_image": 0.03, "now_bigger": 0.025,
        "say_it": 0.025,
    },
    # What stood still in the first round is only rehearsed: pictures are learnt long before speech
    # is.
    "speech": {
        "text_to_image": 0.06, "image_to_text": 0.03, "text_to_audio": 0.31, "audio_to_text": 0.16,
        "retrieve_image": 0.02, "retrieve_audio": 0.10, "text_to_video": 0.06,
        "video_to_text": 0.04, "image_to_audio": 0.07, "audio_to_image": 0.06, "now_bigger": 0.04,
        "say_it": 0.05,
    },
    # From speech to pictures and back no word stands in between: those come last.
    "crossing": {
        "text_to_image": 0.09, "image_to_text": 0.02, "text_to_audio": 0.09, "audio_to_text": 0.07,
        "retrieve_image": 0.01, "retrieve_audio": 0.06, "text_to_video": 0.04,
        "video_to_text": 0.02, "image_to_audio": 0.13, "audio_to_image": 0.34, "now_bigger": 0.10,
        "say_it": 0.03,
    },
    # Apart from the demo, which it goes on from: text alone, trained as a flow or autoregressively.
    "text": {"image_to_text": 0.25, "image_to_listing": 0.35, "image_to_page": 0.4},
}  # fmt: skip
"""How often each task is drawn, for each stage that trains the backbone."""
LEAD_SHARE = 0.25
"""Of the batches of listings and pages, those of which a flow learns the first part alone."""


@dataclass(frozen=True)
class Picks:
    """What a step is about: drawings (their index, name, artist) and clips (their index, name,
    voice)."""

    drawing: NDArray[np.int64]
    clip: NDArray[np.int64]
    names: list[str]
    artists: list[str]
    voices: list[str]


class Tasks:
    """Draws one batch of one task at a time from the training split."""

    def __init__(
        self, emoji: Emoji, tokenizer: TextTokenizer, config: ModelConfig, batch_size: int
    ) -> None:
        self.emoji, self.tokenizer, self.config, self.batch_size = (
            emoji,
            tokenizer,
            config,
            batch_size,
        )
        self.names = emoji.concepts
        self.drawings, self.clips = emoji.drawings(), emoji.clips_of()
        voices = [emoji.voices.index(voice) for voice in GENERATION_VOICES]
        self.spoken = self.clips[np.isin(emoji.clip_voice[self.clips], voices)]
        self.makers: dict[str, Callable[[np.random.Generator], Draw]] = {
            name: getattr(self, name) for shares in SHARES.values() for name in shares
        }

    def draw(self, stage: str, step: int) -> Draw:
        """The batch of a stage's step, a pure function of both."""
        rng, shares = np.random.default_rng((1 + list(SHARES).index(stage), step)), SHARES[stage]
        name = rng.choice(list(shares), p=np.asarray(list(shares.values())) / sum(shares.values()))
        return self.makers[str(name)](rng)

    def picks(
        self, rng: np.random.Generator, count: int, distinct: bool = False, spoken: bool = False
    ) -> Picks:
        """Concepts spread evenly (each at most once where `distinct`), then a drawing and a clip of
        each."""
        concepts = len(self.names)
        order = np.concatenate([rng.permutation(concepts) for _ in range(-(-count // concepts))])
        chosen = order[: min(count, concepts) if distinct else count]
        clips = self.spoken if spoken else self.clips
        drawing = np.asarray(
            [
                rng.choice(self.drawings[self.emoji.drawing_concept[self.drawings] == c])
                for c in chosen
            ]
        )
        clip = np.asarray([rng.choice(clips[self.emoji.clip_concept[clips] == c]) for c in chosen])
        return Picks(
            drawing, clip, [self.names[c] for c in chosen],
            [self.emoji.artists[a] for a in self.emoji.drawing_artist[drawing]],
            [self.emoji.voices[v] for v in self.emoji.clip_voice[clip]],
        )  # fmt: skip

    def pixels(
        self, drawing: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> NDArray[np.float32]:
        """Drawings as pixels (B,3,S,S) in [-1,1], augmented where a generator is given."""
        return self.emoji.pictures(drawing, rng) * 2.0 - 1.0

    def mels(
        self, clip: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> NDArray[np.float32]:
        """Clips as log-mel (B,N,F,mels), augmented where a generator is given."""
        mels = np.stack(
            [log_mel(waveform, self.config.audio) for waveform in self.emoji.clips(clip, rng)]
        )
        return mels if rng is None else another_speaker(mels, rng)

    def heard(self, audio: Ids, rng: np.random.Generator) -> list[Part]:
        """Sub-codes of augmented clips as conditions, some of them misheard."""
        return _parts("audio", misheard(audio, self.config.audio.codebook.entries, rng))

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
        prompts = [draw_prompt(n, a) for n, a in zip(picks.names, picks.artists, strict=True)]
        return Draw(
            "text_to_image",
            lambda image, _: self._answers(
                [(Part("text", p),) for p in prompts], _parts("image", image)
            ),
            self.pixels(picks.drawing),
        )

    def image_to_text(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)
        asked = Part("text", WHAT_IS_THIS)
        return Draw(
            "image_to_text",
            lambda image, _: self._answers(
                [(p, asked) for p in _parts("image", image)], picks.names
            ),
            self.pixels(picks.drawing, rng),
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
                for p in _parts("image", image)
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
                [(Part("text", p),) for p in prompts], _parts("audio", audio)
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
            media = _parts("image", image) if task == "retrieve_image" else self.heard(audio, rng)
            texts = [Part("text", name) for name in picks.names]
            return tuple(
                [embedding_sequence(self.tokenizer, part, self.config) for part in side]
                for side in (texts, media)
            )

        if task == "retrieve_image":
            return Draw(task, build, self.pixels(picks.drawing, rng))
        return Draw(task, build, log_mel=self.mels(picks.clip, rng))

    def retrieve_image(self, rng: np.random.Generator) -> Draw:
        return self._retrieve("retrieve_image", rng)

    def retrieve_audio(self, rng: np.random.Generator) -> Draw:
        return self._retrieve("retrieve_audio", rng)

    def _video(self, rng: np.random.Generator) -> tuple[Picks, list[str], NDArray[np.float32]]:
        picks = self.picks(rng, max(1, self.batch_size // 2))
        motion = str(rng.choice(MOTIONS))
        frames = self.emoji.motion(picks.drawing, motion, FRAMES) * 2.0 - 1.0
        return picks, [motion] * len(picks.names), frames.reshape(-1, *frames.shape[2:])

    def text_to_video(self, rng: np.random.Generator) -> Draw:
        picks, motions, frames = self._video(rng)
        prompts = [film_prompt(*p) for p in zip(picks.names, motions, picks.artists, strict=True)]
        return Draw(
            "text_to_video",
            lambda image, _: self._answers([(Part("text", p),) for p in prompts], _videos(image)),
            frames,
        )

    def video_to_text(self, rng: np.random.Generator) -> Draw:
        picks, motions, frames = self._video(rng)
        asked, names = (
            Part("text", WHAT_HAPPENS),
            [f"{n} {m}" for n, m in zip(picks.names, motions, strict=True)],
        )
        return Draw(
            "video_to_text",
            lambda image, _: self._answers([(p, asked) for p in _videos(image)], names),
            frames,
        )

    def image_to_audio(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size, spoken=True)

        def build(image: Ids, audio: Ids) -> tuple[list[Sequence], ...]:
            asked = [Part("text", f"say it, {voice} voice") for voice in picks.voices]
            return self._answers(
                list(zip(_parts("image", image), asked, strict=True)), _parts("audio", audio)
            )

        return Draw("image_to_audio", build, self.pixels(picks.drawing, rng), self.mels(picks.clip))

    def audio_to_image(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)

        def build(image: Ids, audio: Ids) -> tuple[list[Sequence], ...]:
            asked = [Part("text", f"draw it, {artist} style") for artist in picks.artists]
            return self._answers(
                list(zip(self.heard(audio, rng), asked, strict=True)), _parts("image", image)
            )

        return Draw("audio_to_image", build, self.pixels(picks.drawing), self.mels(picks.clip, rng))

    def now_bigger(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size)
        word, factor = (("bigger", 1.25), ("smaller", 0.6))[int(rng.integers(2))]
        pixels = np.concatenate(
            [self.pixels(picks.drawing), self.emoji.scaled(picks.drawing, factor) * 2.0 - 1.0]
        )

        def build(image: Ids, _: Ids) -> tuple[list[Sequence], ...]:
            first, second = (
                _parts("image", image[: len(picks.names)]),
                _parts("image", image[len(picks.names) :]),
            )
            turns = [
                (
                    Turn("user", (Part("text", draw_prompt(n, a)),)),
                    Turn("assistant", (p,)),
                    Turn("user", (Part("text", f"now {word}"),)),
                )
                for n, a, p in zip(picks.names, picks.artists, first, strict=True)
            ]
            return (
                [
                    dialogue(self.tokenizer, self.config, t, r)
                    for t, r in zip(turns, second, strict=True)
                ],
            )

        return Draw("now_bigger", build, pixels)

    def say_it(self, rng: np.random.Generator) -> Draw:
        picks = self.picks(rng, self.batch_size, spoken=True)

        def build(image: Ids, audio: Ids) -> tuple[list[Sequence], ...]:
            turns = [
                (
                    Turn("user", (p, Part("text", WHAT_IS_THIS))),
                    Turn("assistant", (Part("text", n),)),
                    Turn("user", (Part("text", f"say it, {v} voice"),)),
                )
                for p, n, v in zip(_parts("image", image), picks.names, picks.voices, strict=True)
            ]
            return (
                [
                    dialogue(self.tokenizer, self.config, t, r)
                    for t, r in zip(turns, _parts("audio", audio), strict=True)
                ],
            )

        return Draw("say_it", build, self.pixels(picks.drawing, rng), self.mels(picks.clip))


def _parts(kind: Any, codes: Ids) -> list[Part]:
    return [Part(kind, code) for code in codes]


def _videos(codes: Ids) -> list[Part]:
    return [Part("video", frames) for frames in codes.reshape(-1, FRAMES, *codes.shape[1:])]
