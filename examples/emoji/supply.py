"""What a step of the demo's training is about, and how it is shown and heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from augment import COLOURS, another_speaker, coloured, misheard, restyled
from dataset import Emoji
from numpy.typing import NDArray
from poses import MOTIONS, SIZES, Floats
from prompts import FRAMES, GENERATION_VOICES

from nextomni_edge.config import ModelConfig
from nextomni_edge.tokens.audio import log_mel
from nextomni_edge.tokens.chat import Part
from nextomni_edge.tokens.sequence import Ids
from nextomni_edge.tokens.text import TextTokenizer

OTHER_STYLE = 0.15
"""Of the prompts for a drawing, those that may name another artist than its own: the name decides
what is drawn, and the style only how."""


@dataclass(frozen=True)
class Picks:
    """What a step is about: drawings (their index, name, artist) and clips (their index, name,
    voice)."""

    drawing: NDArray[np.int64]
    clip: NDArray[np.int64]
    names: list[str]
    artists: list[str]
    voices: list[str]


class Supply:
    """Drawings and clips out of the training split, as answers and as conditions."""

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
        held = set(
            zip(
                emoji.drawing_concept[emoji.drawing_heldout].tolist(),
                emoji.drawing_artist[emoji.drawing_heldout].tolist(),
                strict=True,
            )
        )
        self.styles = {
            name: [artist for a, artist in enumerate(emoji.artists) if (c, a) not in held]
            for c, name in enumerate(self.names)
        }

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

    def wished(self, picks: Picks, rng: np.random.Generator) -> list[str]:
        """The artist that each prompt names: the drawing's, or for a share any whose drawing of the
        thing is not held out. So no prompt of the measure of unseen styles is met in training."""
        other = rng.random(len(picks.names)) < OTHER_STYLE
        return [
            str(rng.choice(self.styles[name])) if chosen else artist
            for name, artist, chosen in zip(picks.names, picks.artists, other, strict=True)
        ]

    def pixels(
        self, drawing: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> NDArray[np.float32]:
        """Drawings as pixels (B,3,S,S) in [-1,1], augmented where a generator is given."""
        return self.emoji.pictures(drawing, rng) * 2.0 - 1.0

    def shown(self, drawing: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """Drawings as conditions (B,3,S,S): augmented, and as other artists might draw them."""
        pictures = self.emoji.pictures(drawing, rng)
        return restyled(pictures[:, None], rng)[:, 0] * np.float32(2) - np.float32(1)

    def seen(self, image: Ids, rng: np.random.Generator) -> Ids:
        """Sub-codes of drawings as conditions, some of them wrong."""
        return misheard(image, self.config.image.codebook.entries, rng)

    def drawn(self, rng: np.random.Generator, count: int) -> Floats:
        """Pictures as answers show them (count,3,side,side) in [-1,1]: half of them as they are,
        the others under one change of size or colour, or out of a film."""
        side = self.config.image.side
        plain, rows = np.split(self.picks(rng, count).drawing, [count // 2])
        still = self.emoji.pictures(plain, size=side)
        change = str(rng.choice([*SIZES, *COLOURS, *MOTIONS]))
        if change in SIZES:
            changed = self.emoji.scaled(rows, SIZES[change], side)
        elif change in COLOURS:
            changed = coloured(self.emoji.pictures(rows, size=side), change)
        else:
            changed = self.emoji.motion(rows, change, FRAMES, side)[:, int(rng.integers(FRAMES))]
        return np.concatenate([still, changed]) * np.float32(2) - np.float32(1)

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
        return parts_of("audio", misheard(audio, self.config.audio.codebook.entries, rng))


def parts_of(kind: Any, codes: Ids) -> list[Part]:
    return [Part(kind, code) for code in codes]
