"""What is wrong with the settings of a generation: values out of range, and combinations that mean
nothing. Settings are named as on the command line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.flow.path import COMMIT, step_names, steppers_of
from nextomni_edge.generate.shortcuts import (
    ALL_CACHES,
    COMMIT_CACHES,
    EXTEND,
    LOGITS,
    CacheOptions,
)

Settings = Mapping[str, Any]
Faults = Iterable[tuple[bool, str]]
Range = tuple[Callable[[Any], bool], str]

NO_DRAW: Final = "means nothing at temperature 0: raise the temperature or leave"
NOT_KEPT: Final = "means nothing where nothing is kept: name a kv_cache"


def at_least(least: int) -> Range:
    return lambda value: value >= least, f"at least {least}"


def one_of(names: Iterable[str]) -> Range:
    allowed = tuple(names)
    return allowed.__contains__, f"one of {', '.join(allowed)}"


PENALTIES: Final = ("repeat_penalty", "position_penalty")
FINITE: Final[Range] = (lambda value: 0.0 <= value < math.inf, "a finite number from 0")
SHARE: Final[Range] = (lambda value: 0.0 <= value <= 1.0, "0 to 1")
# a setting that is None is the model's own, and fits
RANGES: Final[Mapping[str, Range]] = {
    "steps": at_least(1),
    "stepper": one_of(step_names()),
    "temperature": FINITE,
    "draw_temperature": FINITE,
    "shift": (lambda value: 0.0 < value <= 1e6, "over 0"),
    "codebook_penalty": FINITE,
    "top_k": at_least(0),
    "top_p": (lambda value: 0.0 < value <= 1.0, "over 0 and at most 1"),
    "guidance": FINITE,
    "guidance_image": FINITE,
    "guidance_until": SHARE,
    **dict.fromkeys(PENALTIES, (lambda value: 1.0 <= value < math.inf, "a finite number from 1")),
    "block": at_least(0),
    "threshold": SHARE,
    "seed": (lambda value: 0 <= value < 2**64, "0 to 2**64 - 1"),
    "lead_tokens": at_least(0),
    "max_blocks": at_least(1),
    "eos_threshold": (lambda value: 0.0 < value < 1.0, "between 0 and 1"),
    "extend": one_of(EXTEND),
    "extend_until": SHARE,
    "kv_cache": one_of(ALL_CACHES),
    "refresh_prompt": at_least(0),
    "refresh": at_least(0),
    "cache_threshold": (lambda value: -1.0 <= value <= 1.0, "-1 to 1, a cosine"),
    "cache_share": SHARE,
    "cache_drift": FINITE,
    "cache_warmup": SHARE,
    "padding": (lambda value: 0.0 <= value < 1.0, "at least 0 and under 1"),
}


def refuse(faults: Faults) -> None:
    """UsageError: names every fault that holds."""
    sentences = [sentence for wrong, sentence in faults if wrong]
    if sentences:
        raise UsageError("; ".join(sentences))


def range_faults(settings: Settings) -> Faults:
    """Values out of their ranges."""
    for name, (fits, expected) in RANGES.items():
        value = settings[name]
        shown = repr(value) if isinstance(value, str) else value
        yield value is not None and not fits(value), f"{name} is {shown}, expected {expected}"


def grid_faults(grid: tuple[float, ...], steps: int) -> Faults:
    """A grid that is none, or not of so many steps."""
    if not grid:
        return []
    return [
        (
            len(grid) != steps + 1,
            f"grid has {len(grid)} times, expected {steps + 1} for {steps} steps",
        ),
        (
            not (grid[0] == 0.0 and grid[-1] == 1.0),
            f"grid goes from {grid[0]} to {grid[-1]}, expected 0 to 1",
        ),
        (
            not all(a < b for a, b in itertools.pairwise(grid)),
            "grid does not rise from each time to the next",
        ),
    ]


def unmeant_faults(settings: Settings) -> Faults:
    """Settings that would change nothing next to the others."""
    policy = settings["kv_cache"]
    for name in ("cache_drift", "refresh_prompt", "refresh"):
        yield settings[name] > 0 and policy == "none", f"{name} {NOT_KEPT}"
    yield (
        settings["cache_share"] > 0.0 and policy not in ("adaptive", LOGITS),
        "cache_share is for kv_cache 'adaptive': name it, or leave cache_share out",
    )
    yield (
        settings["cache_warmup"] != CacheOptions.warmup and policy != LOGITS,
        "cache_warmup is for kv_cache 'logits': name it, or leave cache_warmup out",
    )
    ends = settings["guidance_until"] < 1.0
    yield (
        ends and not (settings["guidance"] > 0 or settings["guidance_image"] > 0),
        "guidance_until is for guidance: give a scale, or leave guidance_until out",
    )
    yield (
        ends and policy != "none",
        f"guidance_until means nothing for kv_cache {policy!r}: leave one of them out",
    )
    greedy = settings["temperature"] == 0
    yield greedy and settings["top_k"] > 0, f"top_k {NO_DRAW} top_k out"
    yield greedy and settings["top_p"] < 1, f"top_p {NO_DRAW} top_p out"


def path_faults(settings: Settings, config: ModelConfig, modality: str) -> Faults:
    """A step that the modality's path does not have."""
    rules = steppers_of(config.path(modality))
    yield (
        config.causal,
        "this model is autoregressive, there is no flow to sample: decode it a token at a time",
    )
    yield (
        settings["stepper"] not in rules,
        f"stepper is {settings['stepper']!r}: the path of {modality} has {', '.join(rules)}",
    )


def commit_faults(settings: Settings) -> Faults:
    """What belongs to the commit step only, and what means nothing for it."""
    commits, policy = settings["stepper"] == COMMIT, settings["kv_cache"]
    asked = settings["block"] is not None or settings["threshold"] is not None
    yield (
        not commits and asked,
        "block and threshold are for the stepper commit: leave them out",
    )
    for name in (*PENALTIES, "draw_temperature", "shift", "codebook_penalty"):
        yield (
            not commits and settings[name] is not None,
            f"{name} is for the stepper commit: leave it out",
        )
    yield (
        not commits and policy in COMMIT_CACHES,
        f"kv_cache {policy!r} is for the stepper commit: take another",
    )
    unmeant = {
        "max_blocks": settings["max_blocks"] is not None,
        "lead_tokens": settings["lead_tokens"] > 0,
        "grid": bool(settings["grid"]),
    }
    for name, meant in unmeant.items():
        yield commits and meant, f"{name} means nothing for the stepper commit: leave it out"


def length_faults(settings: Settings, config: ModelConfig, modality: str) -> Faults:
    """A length that the answer cannot have."""
    blocks, limit, text = settings["max_blocks"], config.text.max_blocks, modality == "text"
    yield (
        blocks is not None and not text,
        f"max_blocks is for text, but {modality} is generated",
    )
    yield (
        settings["block"] is not None and not text,
        f"block is for text, but {modality} is generated",
    )
    yield (
        blocks is None and settings["extend"] != "first",
        "extend means nothing at a fixed length: give max_blocks",
    )
    yield (
        blocks is not None and blocks > limit,
        f"max_blocks is {blocks}, the model takes at most {limit}",
    )
    if not (lead := settings["lead_tokens"]):
        return
    most = math.inf if blocks is None else blocks * config.text.block_size
    yield not text, f"lead_tokens is for text, but {modality} is generated"
    yield (
        config.text.canvas is not None,
        "lead_tokens: this model answers on a canvas of one size",
    )
    yield (
        text and settings["guidance"] > 0,
        "lead_tokens: guidance's unconditional branch would lose them",
    )
    yield (
        lead >= most,
        f"lead_tokens is {lead}, max_blocks {blocks} allows no more than {most} in all",
    )
