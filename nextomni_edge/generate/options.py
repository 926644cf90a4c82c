"""The options of a generation. faults.py says which of them make no sense."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Final

from nextomni_edge.config import ModelConfig
from nextomni_edge.decoding import OPTIONAL
from nextomni_edge.flow.path import steppers_of
from nextomni_edge.generate.faults import (
    commit_faults,
    grid_faults,
    length_faults,
    path_faults,
    range_faults,
    refuse,
    unmeant_faults,
)
from nextomni_edge.generate.shortcuts import LOGITS, NESTED, SHORTCUTS, CacheOptions, Shortcuts

PUBLISHED: Final = {"cache_share": 0.1, "refresh": 5}  # Lumina-DiMOO's settings of it


@dataclass(frozen=True)
class GenerationOptions:
    """Everything that a generation can be told.

    `defaults` gives a modality's published settings. The sequence's own length says how much is
    generated.
    """

    steps: int = 32
    """Grid t_i = i/steps. Each step takes a forward, unless an exact shortcut below saves it."""

    grid: tuple[float, ...] = ()
    """In place of the even grid: steps + 1 rising times from 0 to 1 (see grid.py). Empty is the
    even grid."""

    stepper: str = "euler"
    """'euler', or 'corrected', which follows the path more closely at few steps and needs a forward
    at t = 0. Masked models: 'commit', or 'jump', the path's own step."""

    temperature: float = 1.0
    """The temperature of the draw x_1 ~ p(· | x_t); 0 takes the argmax."""

    top_k: int = 0
    """Draw x_1 only among the k likeliest symbols; 0 is off."""

    top_p: float = 1.0
    """Draw x_1 among the fewest symbols whose probabilities sum to at least p; 1 is off."""

    guidance: float = 0.0
    """s in (1+s)·conditional − s·unconditional; 0 costs no second branch."""

    guidance_until: float = field(default=1.0, metadata=OPTIONAL)
    """Guide at times t up to this one only: later steps have one branch (arXiv 2404.07724). 1: at
    every step."""

    guidance_image: float = field(default=0.0, metadata=OPTIONAL)
    """The second scale, of a picture that is edited: how much it is kept. Models with two branches
    for editing only."""

    block: int | None = field(default=None, metadata=OPTIONAL)
    """Of the commit step: tokens of a block that is finished before the next begins; None is the
    model's own number, 0 one block."""

    threshold: float | None = field(default=None, metadata=OPTIONAL)
    """Of the commit step: write every row whose probability (or margin) is over it, in place of a
    fixed number a step (arXiv 2505.22618); None is the model's own, 0 off."""

    repeat_penalty: float | None = field(default=None, metadata=OPTIONAL)
    """Of the commit step: the divisor of a logit whose symbol the answer holds already; None is the
    model's own, 1 off."""

    position_penalty: float | None = field(default=None, metadata=OPTIONAL)
    """Of the commit step: the divisor of the last masked row's logits, which grows from 1 behind
    the first 100; None is the model's own, 1 off."""

    draw_temperature: float | None = field(default=None, metadata=OPTIONAL)
    """Of the commit step: the temperature of x_1, where `temperature` is that of the score; None is
    the model's own."""

    shift: float | None = field(default=None, metadata=OPTIONAL)
    """Of the commit step: τ of the path's κ_t, under 1 for few tokens at first; None is the model's
    own."""

    codebook_penalty: float | None = field(default=None, metadata=OPTIONAL)
    """Of the commit step: what the score of sub-code k loses, times k; None is the model's own."""

    seed: int = 0
    """Every draw is a pure function of the seed and of the draw's place."""

    max_blocks: int | None = None
    """Text only: add blocks up to this number while no row is confident of <EOS>. None keeps the
    sequence's length."""

    eos_threshold: float = 0.5
    """The probability of <EOS> at which a response is long enough."""

    extend: str = "first"
    """When blocks are added: 'first', all before the denoising, or 'interleaved', one before each
    step up to `extend_until`."""

    extend_until: float = 0.5
    """The time t up to which an interleaved response may grow: a block that comes late has few
    steps left."""

    lead_tokens: int = 0
    """Text only: denoise this many first tokens before the rest, which sees them as given (see
    lead.py). 0: all together."""

    cache: CacheOptions = field(default_factory=CacheOptions)
    """Which keys and values are kept over the steps."""

    padding: float = 0.0
    """The share of a forward's positions that may be padding, so that requests of different lengths
    share it; 0: none."""

    shortcuts: Shortcuts = field(default_factory=Shortcuts)
    """What is left out without changing a token."""

    def __post_init__(self) -> None:
        """UsageError: names every value that is out of its range."""
        object.__setattr__(self, "grid", tuple(self.grid))  # JSON has lists
        settings = self.settings()
        refuse(
            [
                *range_faults(settings),
                *grid_faults(self.grid, self.steps),
                *unmeant_faults(settings),
            ]
        )

    @property
    def guided(self) -> bool:
        """Whether logits are compared with those of a prompt without its condition."""
        return self.guidance > 0 or self.guidance_image > 0

    @property
    def all_steps(self) -> int:
        """The steps of a whole response: of both parts where it has two."""
        return self.steps * (2 if self.lead_tokens else 1)

    def plain(self) -> GenerationOptions:
        """The same run without any shortcut: every step computes everything again in a whole
        forward."""
        return self.changed(**dict.fromkeys(SHORTCUTS, False))

    def settings(self) -> dict[str, Any]:
        """Every setting by its name on the command line, which is how records keep them."""
        found: dict[str, Any] = {}
        for name, value in vars(self).items():
            if dataclasses.is_dataclass(value):
                found |= {
                    setting: getattr(value, inner)
                    for setting, (group, inner) in NESTED.items()
                    if group == name
                }
            else:
                found[name] = value
        return found

    def to_json(self) -> dict[str, Any]:
        """`settings` for a record, without the optional ones that are at their defaults."""
        optional = {each.name: each.default for each in dataclasses.fields(self) if each.metadata}
        for each in dataclasses.fields(CacheOptions):
            if each.metadata:
                optional[f"cache_{each.name}"] = each.default
        return {
            name: value
            for name, value in self.settings().items()
            if name not in optional or value != optional[name]
        }

    def changed(self, **settings: Any) -> GenerationOptions:
        """The same options but for settings by name. TypeError: no such setting."""
        own = {name: value for name, value in settings.items() if name not in NESTED}
        for group in ("cache", "shortcuts"):
            inner = {
                NESTED[name][1]: value
                for name, value in settings.items()
                if NESTED.get(name, ("",))[0] == group
            }
            if inner:
                own[group] = dataclasses.replace(getattr(self, group), **inner)
        return dataclasses.replace(self, **own)

    @classmethod
    def of(cls, **settings: Any) -> GenerationOptions:
        """Options of settings by name. TypeError: no such setting."""
        return cls().changed(**settings)

    @classmethod
    def defaults(cls, config: ModelConfig, modality: str, **given: Any) -> GenerationOptions:
        """The config's steps, temperature and guidance for a modality ('video' too). Values that
        are given and not None replace them."""
        path = config.path(modality)
        settings = {
            "steps": path.steps, "temperature": path.temperature, "guidance": path.guidance,
            "stepper": steppers_of(path)[0],
        }  # fmt: skip
        asked = {name: value for name, value in given.items() if value is not None}
        if asked.get("kv_cache") == LOGITS:
            settings |= PUBLISHED
        return cls.of(**{**settings, **asked})

    def check(self, config: ModelConfig, modality: str) -> None:
        """UsageError: the options do not fit what is generated."""
        settings = self.settings()
        refuse(
            [
                *path_faults(settings, config, modality),
                *commit_faults(settings),
                *length_faults(settings, config, modality),
            ]
        )
