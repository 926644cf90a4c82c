"""Whole generations of every kind that a model is for, small enough to run anywhere."""

from __future__ import annotations

import zlib
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.config import ModelConfig
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.graphs import decoders
from nextomni_edge.modalities.table import MODALITIES
from nextomni_edge.spec import ComponentName, Modality
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Segment, Sequence
from nextomni_edge.tokens.text import SpecialTokens

STEPS: Final = 8
FRAMES: Final = 2
AUDIO_TOKENS: Final = 6
LENGTHS: Final = {"audio": AUDIO_TOKENS, "video": FRAMES}
PROMPTS: Final = {
    "image": "draw a red cat",
    "audio": "say a red cat",
    "video": "a red cat spinning",
    "text": "what is this?",
}


@dataclass(frozen=True)
class Task:
    """A generation with everything that is needed to run it again."""

    name: str
    sequence: Sequence
    options: GenerationOptions

    @property
    def modality(self) -> Modality:
        """The modality of what is generated."""
        return self.sequence.segments[self.sequence.generated()[0]].modality


def media(model: EdgeModel, kind: Kind) -> NDArray[Any]:
    """A smooth picture's pixels (3,size,size), a clip's log-mel (n,frames_per_token,mels) or its
    samples (n,token), or pixels of a video's frames."""
    generator, config = np.random.default_rng(zlib.crc32(kind.encode())), model.config
    if kind == "audio":
        length, speech = min(AUDIO_TOKENS, config.audio.max_positions), config.audio.speech
        if speech is not None:
            rows = generator.standard_normal((length, speech.listener.row_size))
            return rows.astype(np.float32)
        if config.audio.codec is not None:
            samples = generator.uniform(-0.5, 0.5, (length, config.audio.codec.token))
            return samples.astype(np.float32)
        waves = generator.uniform(
            -0.5, 1.0, (length, config.audio.frames_per_token, config.audio.mels)
        )
        return waves.astype(np.float32)
    axis = np.linspace(0.0, 2.0 * np.pi, config.image.size)
    frames = []
    for _ in range(min(FRAMES, config.image.max_frames)):
        a, b, c = generator.uniform(0.5, 3.0, (3, 3, 1, 1))
        frames.append(np.sin(a * axis[:, None] + b * axis + c).astype(np.float32))
    return np.stack(frames) if kind == "video" else frames[0]


def encoded(model: EdgeModel, kind: Kind) -> Part:
    """The part that the model's encoders make of `media`."""
    return Part(kind, model.encode(kind, media(model, kind)))


@dataclass(frozen=True)
class Plan:
    """A task before its media are encoded: what the user gives besides the text, the kind of
    answer, and the earlier answers."""

    name: str
    answer: Kind
    given: tuple[Kind, ...] = ()
    earlier: tuple[Kind, ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Every kind of part in the task's conversation."""
        return (self.answer, *self.given, *self.earlier)

    def components(self, config: ModelConfig) -> tuple[str, ...]:
        """The components that making, running and decoding the task needs."""
        shown = {MODALITIES[kind].segments for kind in (*self.given, *self.earlier)}
        answer = MODALITIES[self.answer].segments
        encoders = {f"{modality}_encoder" for modality in shown}
        decoder = set(decoders(config, answer)) if MODALITIES[answer].codec else set()
        served = {"text"} if config.mixes else {"text", answer, *shown}
        embedded = {f"embed_{modality}" for modality in served}
        head = f"{'text' if config.mixes else answer}_head"
        return tuple(sorted(encoders | decoder | embedded | {ComponentName.BACKBONE, head}))

    def task(self, model: EdgeModel) -> Task:
        """The task with media as the model's encoders read them."""
        turns: list[Turn] = []
        for kind in self.earlier:
            turns += [
                Turn("user", (Part("text", PROMPTS[kind]),)),
                Turn("assistant", (encoded(model, kind),)),
            ]
        turns.append(
            Turn(
                "user",
                (
                    *(encoded(model, kind) for kind in self.given),
                    Part("text", PROMPTS[self.answer]),
                ),
            )
        )
        config = model.config
        most = MODALITIES[self.answer].most(config)
        count = min(LENGTHS.get(self.answer, 1), most)
        segments = conversation(model.tokenizer, turns, self.answer, config=config)
        sequence = respond(segments, self.answer, config, model.tokenizer, count)
        options = GenerationOptions.defaults(
            config, self.answer, steps=STEPS, seed=zlib.crc32(self.name.encode())
        )
        return Task(self.name, sequence, options)


# What a model of text only is tried with, one that speaks, and one that edits pictures besides.
TEXT_ONLY: Final = Plan("text-to-text", "text")
SPOKEN: Final = (
    Plan("text-to-audio", "audio"),
    Plan("voice-to-audio", "audio", given=("audio",)),
)
EDITING_TEXT: Final = 128  # positions for what is said
EDITING: Final = Plan("image-to-image", "image", given=("image",))

PLANS: Final = (
    Plan("text-to-image", "image"),
    Plan("image-to-text", "text", given=("image",)),
    Plan("text-to-audio", "audio"),
    Plan("audio-to-text", "text", given=("audio",)),
    Plan("text-to-video", "video"),
    Plan("video-to-text", "text", given=("video",)),
    Plan("image-to-audio", "audio", given=("image",)),
    Plan("audio-to-image", "image", given=("audio",)),
    Plan("two-turn", "audio", earlier=("image",)),
)


def plans_of(config: ModelConfig) -> tuple[Plan, ...]:
    """The tasks that a model is tried with; it may still lack what some of them need."""
    if config.modalities == ("text",) and not config.causal:
        return (TEXT_ONLY, *PLANS)
    if config.speaks_only:
        return SPOKEN
    pictures = 2 * config.image.grid * (config.image.grid + 1)  # each row has a newline
    edits = config.text.template == "lumina" and "image" in config.modalities
    fits = pictures + EDITING_TEXT <= config.backbone.max_positions
    return (*PLANS, EDITING) if edits and fits else PLANS


def unable(
    plan: Plan, components: Container[str], special: SpecialTokens, config: ModelConfig
) -> str | None:
    """Why a bundle of these components cannot do a task, or None."""
    if config.causal and plan.answer != "text":
        return "an autoregressive model answers in text"
    if missing := [name for name in plan.components(config) if name not in components]:
        return f"the bundle has no {', '.join(missing)}"
    if absent := [kind for kind in plan.kinds if not special.has(kind)]:
        return f"the model's conversations hold no {', '.join(absent)}"
    return None


def task_to_json(task: Task) -> dict[str, object]:
    """Everything but the tokens, which are in the trace's tensors."""
    segments = [[segment.modality, segment.frozen] for segment in task.sequence.segments]
    return {"segments": segments, "options": task.options.to_json()}


def task_from_json(name: str, data: dict[str, Any], tokens: list[NDArray[Any]]) -> Task:
    segments = [
        Segment(kind, ids, frozen)
        for (kind, frozen), ids in zip(data["segments"], tokens, strict=True)
    ]
    return Task(name, Sequence(tuple(segments)), GenerationOptions.of(**data["options"]))
