"""Omni-Diffusion's recorded runs as requests to a model of ours. Those of Dream's set ran on the
same backbone and head, so they are repeated on this model too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextomni_edge.config import ModelConfig
from nextomni_edge.decoding import CommitConfig
from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.speech import SpeechNoise
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.generate.unmask import Unmasking
from nextomni_edge.tokens import omnidiffusion
from nextomni_edge.tokens.chat import Part, Turn
from nextomni_edge.tokens.omnidiffusion import conversation, respond
from nextomni_edge.tokens.sequence import Segment, Sequence
from tests.published.goldens import Array, arrays, clip, read
from tests.published.runs import Recorded, of_run

NAMES = ("vqa", "tts", "tts_boa", "asr", "t2i", "t2i_cfg", "s2i_cfg", "svqa")
ANSWERS = {
    "TQA": "text", "VQA": "text", "TTS": "audio", "ASR": "text", "T2I": "image", "S2I": "image",
    "SVQA": "audio",
}  # fmt: skip
FREE = (0,)  # the id that their penalty never reaches, as the prompt is recorded as it


@dataclass
class OmniRun:
    """One request under the authors' own rule, and its states (steps + 1, R)."""

    name: str
    settings: dict[str, Any]
    states: Array

    def told(self, model: EdgeModel) -> EdgeModel:
        """The same sessions with the authors' form of penalty and of guidance."""
        settings, kind = self.settings, ANSWERS[self.settings["task"]]
        rule = CommitConfig(
            "time", "entropy", tempered=True, top_k=50, top_p=settings["top_p"],
            repeat_penalty=settings["repeat_penalty"], repeat_free=FREE,
            position_penalty=settings["max_position_penalty"],
        )  # fmt: skip
        path = dataclasses.replace(
            model.config.path(kind), commit=rule, compared="positions", filled="all",
            opens=0.2 if settings["add_boa_token"] else None, tokens=settings["max_new_tokens"],
        )  # fmt: skip
        flow = dataclasses.replace(model.config.flow, **{kind: path})
        config = dataclasses.replace(model.config, flow=flow)
        return WithRecordedIds(config, model.tokenizer, model.session, model._table)

    def sequence(self, told: EdgeModel) -> Sequence:
        kind = ANSWERS[self.settings["task"]]
        return respond(prompt(told, self.name), kind, told.config, told.tokenizer)

    def replay(self, model: EdgeModel) -> tuple[list[StepRecord], Array]:
        """What happened in each step, and the answer."""
        told = self.told(model)
        options = GenerationOptions.of(
            steps=self.settings["steps"], stepper="commit", temperature=0.0,
            guidance=self.settings["cfg"],
        )  # fmt: skip
        batch = Batch([self.sequence(told)], [0])
        run = Unmasking(told, batch, options, Meter(), [Recorded(None, None)])
        seen = list(run.steps([0], margins=True))
        return seen, run.x_t[0, :, 0]

    def check(self, model: EdgeModel) -> None:
        """Every state as recorded."""
        seen, answer = self.replay(model)
        assert len(seen) == len(self.states) - 1
        for step, record in enumerate(seen):
            x_t = record.x_t[0].reshape(-1)
            np.testing.assert_array_equal(x_t, self.states[step], err_msg=f"step {step}")
        np.testing.assert_array_equal(answer, self.states[-1])


class WithRecordedIds(EdgeModel):
    """The ids that the authors' code drew in place of a text, for those that we draw."""

    def without(self, batch: Batch, options: GenerationOptions) -> list[list[Sequence]]:
        found = super().without(batch, options)
        if found and not any(segment.continuous for segment in batch.sequences[0].segments):
            given = read("omnidiffusion", "traj.json")["t2i_uncond_prompt_ids"]
            answer = found[0][0].segments[-1]
            ids = Segment("text", np.asarray(given, np.int64))
            assert len(found[0][0].segments[0]) == len(ids)
            return [[Sequence((ids, answer))]]
        return found


def prompt(model: EdgeModel, name: str) -> tuple[Segment, ...]:
    """A recorded prompt, built by our template from what the authors' script was given."""
    return asked(model.config, model, read("omnidiffusion", "traj.json")["prompts"][name]["kwargs"])


def asked(config: ModelConfig, model: EdgeModel, given: dict[str, Any]) -> tuple[Segment, ...]:
    words, golden = str(given["message"]), arrays("omnidiffusion")
    for instruction in (omnidiffusion.DRAW, omnidiffusion.SPEAK):
        words = words.removeprefix(instruction)
    parts = [Part("text", words)] if words and words != omnidiffusion.WRITE else []
    if "audio_path" in given:
        clip = given["audio_path"].removesuffix(".wav")
        parts.append(Part("audio", golden[f"sv.{clip}.rows"]))
    if "image_path" in given:
        parts.append(Part("image", golden[f"mv.{given['image_path']}.codes"].reshape(-1, 1)))
    turns = [Turn("user", tuple(parts))]
    return conversation(model.tokenizer, turns, ANSWERS[given["task"]], config)


def prompt_ids(segments: tuple[Segment, ...], heard: int) -> Array:
    """Ids of a prompt, with the authors' stand-in where it has rows of a sound."""
    return np.concatenate(
        [np.full(len(each), heard) if each.continuous else each.tokens for each in segments]
    )


def runs() -> Iterator[OmniRun]:
    trajectories = read("omnidiffusion", "traj.json")["trajectories"]
    for name in NAMES:
        states = of_run("omnidiffusion", f"traj.{name}")["states"].astype(np.int64)
        yield OmniRun(name, trajectories[name], states)


def heard(kind: str, name: str) -> Array:
    """One channel at 16 kHz, as the authors' code hears it: the tokenizer the first channel,
    SenseVoice the mean. Their resampling is recorded."""
    golden = arrays("omnidiffusion")
    if f"{kind}.{name}.resampled" in golden:
        found = golden[f"{kind}.{name}.resampled"]
        return found[0] if found.ndim == 2 else found
    samples, rate = clip(f"{kind}.{name}")
    assert rate == 16_000
    return samples[0]


def noise_of(golden: dict[str, Array]) -> SpeechNoise:
    return SpeechNoise(golden["z"], golden["phase"], golden["sine_noise"])
