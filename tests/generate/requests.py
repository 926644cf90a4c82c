"""Requests for an answer of each kind, and every x_t on the way to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence

KINDS: tuple[Kind, ...] = ("text", "image", "audio", "video")
COUNTS = {"text": 2, "image": None, "audio": 3, "video": 2}


def ask(model: EdgeModel, kind: Kind, prompt: str = "draw a red rocket") -> Sequence:
    turns = [Turn("user", (Part("text", prompt),))]
    return respond(
        conversation(model.tokenizer, turns), kind, model.config, model.tokenizer, COUNTS[kind]
    )


def options(model: EdgeModel, kind: Kind, **given: Any) -> GenerationOptions:
    return GenerationOptions.defaults(model.config, kind, **{"steps": 12, "seed": 4, **given})


def traced(
    model: EdgeModel, sequence: Sequence, given: GenerationOptions
) -> tuple[list[tuple[np.ndarray, ...]], Meter]:
    records: list[StepRecord] = []
    meter = Meter()
    found = generate(model, sequence, given, records.append, meter)
    last = tuple(found.segments[index].tokens for index in found.generated())
    return [*(record.x_t for record in records), last], meter
