"""What `make eval` measures: every function asks the model about its items and says of each whether
the answer was right.

Answers in words must be the exact name. Pictures, films and sounds are named by the judges
(judges.py), never by the model itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dataset import MOTIONS, Emoji, Floats, Ints
from judges import Panel
from prompts import (
    FRAMES,
    GENERATION_VOICES,
    WHAT_HAPPENS,
    WHAT_IS_THIS,
    WHAT_WAS_SAID,
    draw_prompt,
    film_prompt,
    say_prompt,
)
from samples import heldout_pairs, trained_pairs

from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.media.audio import max_samples
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, embedding_sequence, respond
from nextomni_edge.tokens.sequence import Sequence

BATCH = 32
Observe = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """One item: what it was about, what came back, and whether that was right."""

    item: str
    expected: str
    answer: str
    right: bool


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion."""
    share, spread = right / n, z * z / n
    middle, reach = share + spread / 2, z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, (middle - reach) / (1 + spread)), min(1.0, (middle + reach) / (1 + spread))


@dataclass(frozen=True)
class Exam:
    """A model, its judges and the items. `settings` override sampling defaults; `rounds` is how
    often each concept is generated."""

    model: EdgeModel
    panel: Panel
    unseen: Emoji
    seen: Emoji
    settings: dict[str, Any]
    rounds: int
    seed: int
    observe: Observe
    encoded: dict[tuple[str, int], list[Part]] = field(default_factory=dict)

    def answers(
        self, kind: Kind, prompts: list[tuple[Part, ...]], count: int | None = None
    ) -> list[Part]:
        """What the model answers to each prompt, one user turn each; item i is drawn with seed
        `seed` + i."""
        return self.replies(kind, [(Turn("user", parts),) for parts in prompts], count)

    def replies(
        self, kind: Kind, dialogues: list[tuple[Turn, ...]], count: int | None = None
    ) -> list[Part]:
        """What the model answers to each dialogue so far."""
        model = self.model
        options = GenerationOptions.defaults(model.config, kind, **self.settings)
        given = [conversation(model.tokenizer, turns) for turns in dialogues]
        sequences = [
            respond(segments, kind, model.config, model.tokenizer, count) for segments in given
        ]
        found: dict[int, Part] = {}
        for indices in self.alike(sequences):
            done = generate_batch(
                model, [sequences[i] for i in indices], options, [self.seed + i for i in indices]
            )
            found |= {
                i: model.response(sequence) for i, sequence in zip(indices, done, strict=True)
            }
            self.observe(len(found), len(sequences))
        return [found[i] for i in range(len(sequences))]

    def embeddings(self, parts: list[Part]) -> Floats:
        """L2-normalised embeddings of parts (N,H)."""
        sequences = [
            embedding_sequence(self.model.tokenizer, part, self.model.config) for part in parts
        ]
        out = np.zeros((len(parts), self.model.config.backbone.hidden_size), np.float32)
        for indices in self.alike(sequences):
            out[indices] = self.model.embed_batch([sequences[i] for i in indices])
        return out

    @staticmethod
    def alike(sequences: list[Sequence]) -> list[list[int]]:
        """Indices in groups of one layout and at most BATCH."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, sequence in enumerate(sequences):
            groups.setdefault(
                tuple((s.modality, len(s), s.frozen) for s in sequence.segments), []
            ).append(index)
        return [
            group[start : start + BATCH]
            for group in groups.values()
            for start in range(0, len(group), BATCH)
        ]

    def pixels(self, emoji: Emoji, rows: Ints) -> Floats:
        """Drawings as the model takes them, (N,3,S,S) in [-1,1]."""
        return emoji.pictures(rows, size=self.model.config.image.size) * np.float32(2) - np.float32(
            1
        )

    def frames(self, emoji: Emoji, rows: Ints, motion: str) -> Floats:
        """Drawings under a motion, (N,FRAMES,3,S,S) in [-1,1]."""
        return emoji.motion(rows, motion, FRAMES, self.model.config.image.size) * np.float32(
            2
        ) - np.float32(1)

    def waveforms(self, emoji: Emoji, rows: Ints) -> Floats:
        """Clips (N,samples), cut where the model takes no more."""
        return emoji.clips(rows)[:, : max_samples(self.model.config.audio)]

    def pictures(self, emoji: Emoji, rows: Ints) -> list[Part]:
        """Drawings as parts, encoded once."""
        if ("image", id(emoji)) not in self.encoded:
            codes = np.concatenate(
                [self.model.encode_image(chunk) for chunk in _chunks(self.pixels(emoji, rows))]
            )
            self.encoded["image", id(emoji)] = [Part("image", code) for code in codes]
        return self.encoded["image", id(emoji)]

    def sounds(self, emoji: Emoji, rows: Ints) -> list[Part]:
        """Clips as parts, encoded once."""
        if ("audio", id(emoji)) not in self.encoded:
            mels = np.stack(
                [
                    log_mel(waveform, self.model.config.audio)
                    for waveform in self.waveforms(emoji, rows)
                ]
            )
            codes = np.concatenate([self.model.encode_audio(chunk) for chunk in _chunks(mels)])
            self.encoded["audio", id(emoji)] = [Part("audio", code) for code in codes]
        return self.encoded["audio", id(emoji)]

    def seen_in(self, parts: list[Part]) -> list[str]:
        """The concept that the judge sees in each picture."""
        pixels = np.concatenate(
            [
                self.model.decode_image(chunk)
                for chunk in _chunks(np.stack([part.value for part in parts]))
            ]
        )
        return [self.panel.concepts[c] for c in self.panel.pictures(pixels).argmax(1)]

    def heard_in(self, parts: list[Part]) -> list[str]:
        """The concept that the judge hears in each sound."""
        waveforms = np.concatenate(
            [
                self.model.decode_audio(chunk)
                for chunk in _chunks(np.stack([part.value for part in parts]))
            ]
        )
        return [self.panel.concepts[c] for c in self.panel.speech(waveforms).argmax(1)]


def _chunks(array: Any) -> list[Any]:
    return [array[start : start + BATCH] for start in range(0, len(array), BATCH)]


def _exact(items: list[str], expected: list[str], answers: list[str]) -> list[Outcome]:
    return [
        Outcome(item, name, said, said == name)
        for item, name, said in zip(items, expected, answers, strict=True)
    ]


def _drawing_rows(emoji: Emoji) -> tuple[Ints, list[str], list[str]]:
    rows = np.arange(len(emoji.drawing_concept))
    rows = rows[emoji.drawing_heldout] if emoji.drawing_heldout.any() else rows
    names = [emoji.concepts[c] for c in emoji.drawing_concept[rows]]
    return (
        rows,
        names,
        [
            f"{name} by {emoji.artists[a]}"
            for name, a in zip(names, emoji.drawing_artist[rows], strict=True)
        ],
    )


def _clip_rows(emoji: Emoji) -> tuple[Ints, list[str], list[str]]:
    rows = emoji.clips_of(heldout=True)
    names = [emoji.concepts[c] for c in emoji.clip_concept[rows]]
    return (
        rows,
        names,
        [
            f"{name} by {emoji.voices[v]}"
            for name, v in zip(names, emoji.clip_voice[rows], strict=True)
        ],
    )


def _words(parts: list[Part]) -> list[str]:
    return [str(part.value).strip() for part in parts]


def _name_drawings(exam: Exam, emoji: Emoji) -> list[Outcome]:
    rows, names, items = _drawing_rows(emoji)
    prompts = [(picture, Part("text", WHAT_IS_THIS)) for picture in exam.pictures(emoji, rows)]
    return _exact(items, names, _words(exam.answers("text", prompts, 1)))


def image_to_text_heldout_artist(exam: Exam) -> list[Outcome]:
    """Drawings by an artist never seen for that concept: the exact name."""
    return _name_drawings(exam, exam.unseen)


def image_to_text_train(exam: Exam) -> list[Outcome]:
    """Drawings out of the training split: the exact name."""
    return _name_drawings(exam, exam.seen)


def audio_to_text_heldout_voice(exam: Exam) -> list[Outcome]:
    """Clips by the voice never heard: the exact name."""
    rows, names, items = _clip_rows(exam.unseen)
    prompts = [(sound, Part("text", WHAT_WAS_SAID)) for sound in exam.sounds(exam.unseen, rows)]
    return _exact(items, names, _words(exam.answers("text", prompts, 1)))


def _retrieval(exam: Exam, media: list[Part], names: list[str], kind: str) -> list[Outcome]:
    """One item of each concept against the names, both directions pooled: is the nearest embedding
    that of the same concept?

    Asked as often as every concept has another item, so that each is asked about in a pool of one
    item per concept.
    """
    pool = sorted(set(names), key=names.index)
    places = [[place for place, name in enumerate(names) if name == concept] for concept in pool]
    texts, embedded = exam.embeddings([Part("text", name) for name in pool]), exam.embeddings(media)
    outcomes: list[Outcome] = []
    for chosen in zip(*places, strict=False):
        cosines = texts @ embedded[list(chosen)].T
        for way, nearest in (
            (f"text → {kind}", cosines.argmax(1)),
            (f"{kind} → text", cosines.argmax(0)),
        ):
            outcomes += _exact(
                [f"{name}, {way}" for name in pool], pool, [pool[index] for index in nearest]
            )
    return outcomes


def retrieval_text_image_r1(exam: Exam) -> list[Outcome]:
    """64 names against 64 held-out drawings, both directions."""
    rows, names, _ = _drawing_rows(exam.unseen)
    return _retrieval(exam, exam.pictures(exam.unseen, rows), names, "image")


def retrieval_text_audio_r1(exam: Exam) -> list[Outcome]:
    """64 names against 64 clips by the held-out voice, both directions, at each of its paces."""
    rows, names, _ = _clip_rows(exam.unseen)
    return _retrieval(exam, exam.sounds(exam.unseen, rows), names, "audio")


def _spread(pairs: list[tuple[str, str]], rounds: int) -> list[tuple[str, str]]:
    """`rounds` pairs of every concept, the makers taken in turn from one concept to the next."""
    makers: dict[str, list[str]] = {}
    for name, maker in pairs:
        makers.setdefault(name, []).append(maker)
    return [
        (name, own[(at + index) % len(own)])
        for at in range(rounds)
        for index, (name, own) in enumerate(makers.items())
    ]


def _draw(exam: Exam, pairs: list[tuple[str, str]]) -> list[Outcome]:
    prompts = [draw_prompt(*pair) for pair in pairs]
    answers = exam.answers("image", [(Part("text", prompt),) for prompt in prompts])
    return _exact(prompts, [name for name, _ in pairs], exam.seen_in(answers))


def text_to_image_named(exam: Exam) -> list[Outcome]:
    """Pictures drawn to order, in styles that training had for the concept, named by the judge."""
    return _draw(exam, _spread(trained_pairs(), exam.rounds))


def text_to_image_named_unseen_style(exam: Exam) -> list[Outcome]:
    """The same in the held-out artist's style, which the model knows from other concepts alone."""
    return _draw(exam, heldout_pairs())


def text_to_audio_transcribed(exam: Exam) -> list[Outcome]:
    """Words spoken to order, transcribed by the judge."""
    pairs = _spread(
        [(name, voice) for name in exam.panel.concepts for voice in GENERATION_VOICES], exam.rounds
    )
    prompts = [say_prompt(*pair) for pair in pairs]
    answers = exam.answers("audio", [(Part("text", prompt),) for prompt in prompts])
    return _exact(prompts, [name for name, _ in pairs], exam.heard_in(answers))


def text_to_video_named(exam: Exam) -> list[Outcome]:
    """Films to order, one for each concept; the judge's probabilities are averaged over the
    frames."""
    pairs = _spread(trained_pairs(), 1)
    prompts = [
        film_prompt(name, MOTIONS[i % len(MOTIONS)], artist)
        for i, (name, artist) in enumerate(pairs)
    ]
    answers = exam.answers("video", [(Part("text", prompt),) for prompt in prompts], FRAMES)
    named = [
        exam.panel.pictures(exam.model.decode_image(film.value)).mean(axis=0).argmax()
        for film in answers
    ]
    return _exact(prompts, [name for name, _ in pairs], [exam.panel.concepts[c] for c in named])


def video_to_text_heldout_artist(exam: Exam) -> list[Outcome]:
    """Held-out drawings under a motion: the exact name and motion."""
    rows, names, items = _drawing_rows(exam.unseen)
    kinds = [MOTIONS[i % len(MOTIONS)] for i in range(len(rows))]
    films = {kind: exam.frames(exam.unseen, rows, kind) for kind in MOTIONS}
    parts = [Part("video", exam.model.encode_image(films[kind][i])) for i, kind in enumerate(kinds)]
    answers = exam.answers("text", [(part, Part("text", WHAT_HAPPENS)) for part in parts], 1)
    said = [f"{name} {kind}" for name, kind in zip(names, kinds, strict=True)]
    return _exact(
        [f"{item}, {kind}" for item, kind in zip(items, kinds, strict=True)], said, _words(answers)
    )


def audio_to_image_named(exam: Exam) -> list[Outcome]:
    """Clips by the held-out voice, drawn, named by the judge."""
    rows, names, items = _clip_rows(exam.unseen)
    styles = dict(_spread(trained_pairs(), 1))
    sounds = exam.sounds(exam.unseen, rows)
    prompts = [
        (sound, Part("text", f"draw it, {styles[name]} style"))
        for sound, name in zip(sounds, names, strict=True)
    ]
    return _exact(items, names, exam.seen_in(exam.answers("image", prompts)))


def image_to_audio_transcribed(exam: Exam) -> list[Outcome]:
    """Held-out drawings, said, transcribed by the judge."""
    rows, names, items = _drawing_rows(exam.unseen)
    pictures = exam.pictures(exam.unseen, rows)
    voices = [GENERATION_VOICES[i % len(GENERATION_VOICES)] for i in range(len(rows))]
    prompts = [
        (picture, Part("text", f"say it, {voice} voice"))
        for picture, voice in zip(pictures, voices, strict=True)
    ]
    return _exact(items, names, exam.heard_in(exam.answers("audio", prompts)))


def image_codec_named(exam: Exam) -> list[Outcome]:
    """Training drawings through the model's encoder and decoder, named by the judge: the ceiling of
    what can be drawn."""
    rows, names, items = _drawing_rows(exam.seen)
    return _exact(items, names, exam.seen_in(exam.pictures(exam.seen, rows)))


def audio_codec_transcribed(exam: Exam) -> list[Outcome]:
    """Held-out clips through the model's encoder and decoder, transcribed by the judge: a ceiling
    of what can be said."""
    rows, names, items = _clip_rows(exam.unseen)
    return _exact(items, names, exam.heard_in(exam.sounds(exam.unseen, rows)))


MEASURES: dict[str, Callable[[Exam], list[Outcome]]] = {
    measure.__name__: measure
    for measure in (
        image_to_text_heldout_artist, image_to_text_train, audio_to_text_heldout_voice,
        retrieval_text_image_r1, retrieval_text_audio_r1, text_to_image_named,
        text_to_audio_transcribed, text_to_video_named, text_to_image_named_unseen_style,
        video_to_text_heldout_artist, audio_to_image_named, image_to_audio_transcribed,
        image_codec_named, audio_codec_transcribed,
    )
}  # fmt: skip
