"""A model under examination: its answers to many prompts, its items encoded, and what the judges
see and hear in what it made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dataset import Emoji
from judges import Panel
from poses import Floats, Ints
from prompts import FRAMES

from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tokens.audio import log_mel, max_samples
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
                [self.model.encode_image(chunk) for chunk in chunks(self.pixels(emoji, rows))]
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
            codes = np.concatenate([self.model.encode_audio(chunk) for chunk in chunks(mels)])
            self.encoded["audio", id(emoji)] = [Part("audio", code) for code in codes]
        return self.encoded["audio", id(emoji)]

    def decoded(self, parts: list[Part]) -> Floats:
        """Pixels of pictures, or of the frames of films one after the other, in [-1,1]."""
        codes = np.concatenate([part.value.reshape(-1, *part.value.shape[-2:]) for part in parts])
        return np.concatenate([self.model.decode_image(chunk) for chunk in chunks(codes)])

    def seen_in(self, parts: list[Part]) -> list[str]:
        """The concept that the judge sees in each picture."""
        return [self.panel.concepts[c] for c in self.panel.pictures(self.decoded(parts)).argmax(1)]

    def heard_in(self, parts: list[Part]) -> list[str]:
        """The concept that the judge hears in each sound."""
        waveforms = np.concatenate(
            [
                self.model.decode_audio(chunk)
                for chunk in chunks(np.stack([part.value for part in parts]))
            ]
        )
        return [self.panel.concepts[c] for c in self.panel.speech(waveforms).argmax(1)]


def chunks(array: Any) -> list[Any]:
    return [array[start : start + BATCH] for start in range(0, len(array), BATCH)]
