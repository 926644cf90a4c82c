"""What a generation can be told, and which combinations cannot be meant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.flow.step import STEP_RULES


@dataclass(frozen=True)
class GenerationOptions:
    """`defaults` gives a modality's published settings; how much is generated is the sequence's own length."""

    steps: int = 32
    """Grid t_i = i/steps: a forward each, but for what the exact shortcuts below save."""

    stepper: str = "euler"
    """'euler', or 'corrected', which follows the path more closely at few steps and needs a forward at t = 0."""

    temperature: float = 1.0
    """Of the draw x_1 ~ p(· | x_t); 0 takes the argmax."""

    top_k: int = 0
    """Draw x_1 among the k likeliest symbols alone; 0 is off."""

    top_p: float = 1.0
    """Draw x_1 among the fewest symbols whose probabilities sum to at least p; 1 is off."""

    guidance: float = 0.0
    """s in (1+s)·conditional − s·unconditional; 0 costs no second branch."""

    seed: int = 0
    """Everything drawn is a pure function of it and of the place of the draw."""

    max_blocks: int | None = None
    """Text only: add blocks, up to so many, while no row is confident of <EOS>; None keeps the sequence's length."""

    eos_threshold: float = 0.5
    """The probability of <EOS> at which a response is long enough."""

    skip_first_forward: bool = True
    """Exact: nothing can jump at t = 0 with Euler, so x_1 is not asked for (METHOD 6)."""

    reuse_logits: bool = True
    """Exact: no forward while no token has changed since the last one."""

    stop_early: bool = True
    """Exact: end when x_t is the argmax everywhere and the argmax is what is taken."""

    def __post_init__(self) -> None:
        """UsageError with every value that is out of its range."""
        greedy = self.temperature == 0
        _refuse(
            [
                (self.steps < 1, f"steps is {self.steps}, expected at least 1"),
                (self.stepper not in STEP_RULES, f"stepper is {self.stepper!r}, expected one of {', '.join(STEP_RULES)}"),
                (not 0.0 <= self.temperature < math.inf, f"temperature is {self.temperature}, expected a finite number from 0"),
                (self.top_k < 0, f"top_k is {self.top_k}, expected at least 0"),
                (not 0.0 < self.top_p <= 1.0, f"top_p is {self.top_p}, expected over 0 and at most 1"),
                (not 0.0 <= self.guidance < math.inf, f"guidance is {self.guidance}, expected a finite number from 0"),
                (not 0 <= self.seed < 2**64, f"seed is {self.seed}, expected 0 to 2**64 - 1"),
                (self.max_blocks is not None and self.max_blocks < 1, f"max_blocks is {self.max_blocks}, expected at least 1"),
                (not 0.0 < self.eos_threshold < 1.0, f"eos_threshold is {self.eos_threshold}, expected between 0 and 1"),
                (greedy and self.top_k > 0, "top_k means nothing at temperature 0: raise the temperature or leave top_k out"),
                (greedy and self.top_p < 1, "top_p means nothing at temperature 0: raise the temperature or leave top_p out"),
            ]
        )  # fmt: skip

    @classmethod
    def defaults(cls, config: ModelConfig, modality: str, **given: Any) -> GenerationOptions:
        """The config's steps, temperature and guidance of a modality ('video' too); what is given and not None goes before."""
        path = config.flow.of(modality)
        settings = {"steps": path.steps, "temperature": path.temperature, "guidance": path.guidance}
        return cls(**{**settings, **{name: value for name, value in given.items() if value is not None}})

    def check(self, config: ModelConfig, modality: str) -> None:
        """UsageError where the options don't go with what is generated."""
        blocks, limit = self.max_blocks, config.text.max_blocks
        _refuse(
            [
                (blocks is not None and modality != "text", f"max_blocks is for text, but {modality} is generated"),
                (blocks is not None and blocks > limit, f"max_blocks is {blocks}, the model takes at most {limit}"),
            ]
        )


def _refuse(faults: list[tuple[bool, str]]) -> None:
    sentences = [sentence for wrong, sentence in faults if wrong]
    if sentences:
        raise UsageError("; ".join(sentences))
