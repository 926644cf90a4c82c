"""The options of a generation, and which combinations make no sense."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Final

from nextomni_edge.config import ModelConfig
from nextomni_edge.decoding import OPTIONAL
from nextomni_edge.errors import UsageError
from nextomni_edge.flow.path import COMMIT, step_names, steppers_of
from nextomni_edge.flow.schedule import grid_faults
from nextomni_edge.generate.shortcuts import NESTED, CacheOptions, Shortcuts

CACHES: Final = ("none", "prefix", "adaptive", "revised")
# of the commit step only: Fast-dLLM's two (see cache.py), and Lumina-DiMOO's own (logit_cache.py)
LOGITS: Final = "logits"
COMMIT_CACHES: Final = ("blocks", "dual", LOGITS)
ALL_CACHES: Final = (*CACHES, *COMMIT_CACHES)
PUBLISHED: Final = {"cache_share": 0.1, "refresh": 5}  # Lumina-DiMOO's settings of it
EXTEND: Final = ("first", "interleaved")
SHORTCUTS: Final = (
    "skip_first_forward", "reuse_logits", "stop_early", "keep_embeddings", "draw_together",
    "stream_logits", "keep_metric_rows", "reuse_buffers", "keep_prompt",
)  # fmt: skip

PENALTIES: Final = ("repeat_penalty", "position_penalty")
NO_DRAW: Final = "means nothing at temperature 0: raise the temperature or leave"


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
        greedy = self.temperature == 0
        _refuse(
            [
                (self.steps < 1, f"steps is {self.steps}, expected at least 1"),
                (
                    self.stepper not in step_names(),
                    f"stepper is {self.stepper!r}, expected one of {', '.join(step_names())}",
                ),
                *(
                    (
                        value is not None and not least <= value < math.inf,
                        f"{name} is {value}, expected a finite number from {least}",
                    )
                    for name, value, least in self._finite()
                ),
                (self.top_k < 0, f"top_k is {self.top_k}, expected at least 0"),
                (
                    not 0.0 < self.top_p <= 1.0,
                    f"top_p is {self.top_p}, expected over 0 and at most 1",
                ),
                (
                    self.block is not None and self.block < 0,
                    f"block is {self.block}, expected at least 0",
                ),
                (
                    self.threshold is not None and not 0.0 <= self.threshold <= 1.0,
                    f"threshold is {self.threshold}, expected 0 to 1",
                ),
                (not 0 <= self.seed < 2**64, f"seed is {self.seed}, expected 0 to 2**64 - 1"),
                (self.lead_tokens < 0, f"lead_tokens is {self.lead_tokens}, expected at least 0"),
                (
                    self.max_blocks is not None and self.max_blocks < 1,
                    f"max_blocks is {self.max_blocks}, expected at least 1",
                ),
                (
                    not 0.0 < self.eos_threshold < 1.0,
                    f"eos_threshold is {self.eos_threshold}, expected between 0 and 1",
                ),
                *grid_faults(self.grid, self.steps),
                *self._policy_faults(),
                (
                    greedy and self.top_k > 0,
                    f"top_k {NO_DRAW} top_k out",
                ),
                (
                    greedy and self.top_p < 1,
                    f"top_p {NO_DRAW} top_p out",
                ),
            ]
        )

    def _finite(self) -> list[tuple[str, float | None, int]]:
        """(name, value, least) of what is a finite number."""
        from_0 = ("temperature", "guidance", "guidance_image")
        found: list[tuple[str, float | None, int]] = [(n, getattr(self, n), 0) for n in from_0]
        return found + [(name, getattr(self, name), 1) for name in PENALTIES]

    def _commit_faults(self) -> list[tuple[bool, str]]:
        """What belongs to the commit step only, and what means nothing for it."""
        commits, given = self.stepper == COMMIT, self.block is not None
        unmeant = {
            "max_blocks": self.max_blocks is not None,
            "lead_tokens": self.lead_tokens > 0,
            "grid": bool(self.grid),
        }
        return [
            (
                not commits and (given or self.threshold is not None),
                "block and threshold are for the stepper commit: leave them out",
            ),
            *(
                (
                    not commits and getattr(self, name) is not None,
                    f"{name} is for the stepper commit: leave it out",
                )
                for name in PENALTIES
            ),
            (
                not commits and self.cache.policy in COMMIT_CACHES,
                f"kv_cache {self.cache.policy!r} is for the stepper commit: take another",
            ),
            *(
                (commits and meant, f"{name} means nothing for the stepper commit: leave it out")
                for name, meant in unmeant.items()
            ),
        ]

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

    def _policy_faults(self) -> list[tuple[bool, str]]:
        until, cache = self.extend_until, self.cache
        threshold, share, drift = cache.threshold, cache.share, cache.drift
        kept, adaptive = cache.policy != "none", cache.policy == "adaptive"
        every = [("refresh_prompt", cache.refresh_prompt), ("refresh", cache.refresh)]
        return [
            (
                self.extend not in EXTEND,
                f"extend is {self.extend!r}, expected one of {', '.join(EXTEND)}",
            ),
            (not 0.0 <= until <= 1.0, f"extend_until is {until}, expected 0 to 1"),
            (
                cache.policy not in ALL_CACHES,
                f"kv_cache is {cache.policy!r}, expected one of {', '.join(ALL_CACHES)}",
            ),
            *((value < 0, f"{name} is {value}, expected at least 0") for name, value in every),
            (
                not -1.0 <= threshold <= 1.0,
                f"cache_threshold is {threshold}, expected -1 to 1, a cosine",
            ),
            (not 0.0 <= share <= 1.0, f"cache_share is {share}, expected 0 to 1"),
            (
                not 0.0 <= drift < math.inf,
                f"cache_drift is {drift}, expected a finite number from 0",
            ),
            (
                drift > 0.0 and not kept,
                "cache_drift means nothing where nothing is kept: name a kv_cache",
            ),
            (
                not 0.0 <= self.padding < 1.0,
                f"padding is {self.padding}, expected at least 0 and under 1",
            ),
            *(
                (
                    value > 0 and not kept,
                    f"{name} means nothing where nothing is kept: name a kv_cache",
                )
                for name, value in every
            ),
            (
                share > 0.0 and not adaptive and cache.policy != "logits",
                "cache_share is for kv_cache 'adaptive': name it, or leave cache_share out",
            ),
            (
                not 0.0 <= cache.warmup <= 1.0,
                f"cache_warmup is {cache.warmup}, expected 0 to 1",
            ),
            (
                cache.warmup != CacheOptions.warmup and cache.policy != LOGITS,
                "cache_warmup is for kv_cache 'logits': name it, or leave cache_warmup out",
            ),
        ]

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
        blocks, limit, lead, text = (
            self.max_blocks,
            config.text.max_blocks,
            self.lead_tokens,
            modality == "text",
        )
        most = None if blocks is None else blocks * config.text.block_size
        rules = steppers_of(config.path(modality))
        _refuse(
            [
                (
                    config.causal,
                    (
                        "this model is autoregressive, there is no flow to sample: decode it a"
                        " token at a time"
                    ),
                ),
                (
                    self.stepper not in rules,
                    f"stepper is {self.stepper!r}: the path of {modality} has {', '.join(rules)}",
                ),
                *self._commit_faults(),
                (
                    blocks is not None and not text,
                    f"max_blocks is for text, but {modality} is generated",
                ),
                (
                    blocks is None and self.extend != "first",
                    "extend means nothing at a fixed length: give max_blocks",
                ),
                (
                    blocks is not None and blocks > limit,
                    f"max_blocks is {blocks}, the model takes at most {limit}",
                ),
                (lead > 0 and not text, f"lead_tokens is for text, but {modality} is generated"),
                (
                    lead > 0 and config.text.canvas is not None,
                    "lead_tokens: this model answers on a canvas of one size",
                ),
                (
                    lead > 0 and text and self.guidance > 0,
                    "lead_tokens: guidance's unconditional branch would lose them",
                ),
                (
                    most is not None and lead >= most,
                    f"lead_tokens is {lead}, max_blocks {blocks} allows no more than {most} in all",
                ),
            ]
        )


def _refuse(faults: list[tuple[bool, str]]) -> None:
    sentences = [sentence for wrong, sentence in faults if wrong]
    if sentences:
        raise UsageError("; ".join(sentences))
