"""What an answer can be asked to be: its kind, and how it is generated."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nextomni_edge.config import AudioConfig, ModelConfig
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.tokens.chat import Kind

MODALITIES: Final[tuple[Kind, ...]] = ("text", "image", "audio", "video")


class Settings(TypedDict, total=False):
    """Keyword arguments of `Model.generate`, `Model.stream` and `Chat.say`. What is left out is the
    model's own choice.

    seed: the same seed gives the same answer; 0 by default.
    steps: steps of the flow. grid: the times of the steps instead, rising from 0 to 1.
    stepper: "euler", or "corrected", which stays closer to the path at few steps.
    temperature: of the draws; 0 takes the likeliest. top_k, top_p: draw among the k likeliest, or
    among the likeliest whose probabilities sum to p.
    guidance: classifier-free guidance s; 0 is none. guidance_until: guide at times up to this one
    only, which saves half of the later steps' work and changes the answer.

    frames: how many frames a video has. seconds: how long a sound is.
    max_blocks: a text may grow to this many blocks. eos_threshold: the probability of its end at
    which a text is long enough. extend: grow "first", or "interleaved" with the steps.
    lead_tokens: this many tokens first, then the rest, which sees them as given.

    Of masked models: length: tokens of a text. size: (width, height) of a picture in pixels.
    block: tokens of a text that are finished before the next ones begin. threshold: write every
    token whose probability is over it. repeat_penalty: from 1 on, against symbols that the answer
    holds already. position_penalty: from 1 on, against the rows far behind. guidance_image: how
    much a picture that is edited is kept. edit: what the picture is for: "edit", "control",
    "subject", "style", "view", "dense" or "other". inpaint, outpaint: (share of the width, share of
    the height) of a rectangle in the middle of the given picture; that rectangle, or everything
    around it, is drawn again.
    stepper: "commit", or "jump", the path's own step. cache_warmup: the share of the steps before
    the cache "logits" keeps anything.

    Of models that say a text: voice: a clip of the voice, as a path or samples with their rate;
    voice_text: what it says. voice_design: words for a voice where there is no clip, such as
    "female, low pitch". language: by name or code. speed: 2 is twice as fast. keep_noise: speak
    with the clip's noise. keep_silence: leave long silences in. draw_temperature: of the draws,
    where temperature is that of the order in which tokens are written. shift: under 1 fewer tokens
    are written at first. codebook_penalty: how much the first codebooks come first.

    kv_cache: keep keys and values: "none", "prefix", "adaptive" or "revised"; of masked models also
    "blocks", "dual" or "logits". All but "none" approximate, and so do the settings of a cache:
    refresh_prompt and refresh (recompute the prompt, or the answer, every so many forwards),
    cache_threshold, cache_share, cache_drift.
    """

    seed: int
    steps: int
    stepper: str
    temperature: float
    top_k: int
    top_p: float
    guidance: float
    guidance_until: float
    max_blocks: int
    eos_threshold: float
    extend: str
    lead_tokens: int
    grid: Sequence[float]
    kv_cache: str
    refresh_prompt: int
    refresh: int
    cache_threshold: float
    cache_share: float
    cache_drift: float
    frames: int
    seconds: float
    length: int
    size: Sequence[int]
    block: int
    threshold: float
    guidance_image: float
    repeat_penalty: float
    position_penalty: float
    edit: str
    inpaint: Sequence[float]
    outpaint: Sequence[float]
    cache_warmup: float
    draw_temperature: float
    shift: float
    codebook_penalty: float
    voice: str | os.PathLike[str] | tuple[NDArray[Any], int]
    voice_text: str
    voice_design: str
    language: str
    speed: float
    keep_noise: bool
    keep_silence: bool


# settings of what is said and how, which only a model that speaks has
SPOKEN: Final = (
    "voice", "voice_text", "voice_design", "language", "speed", "keep_noise", "keep_silence"
)  # fmt: skip
# a setting of one kind only, which GenerationOptions do not have, or refuse for other kinds
OF_A_KIND: Final[Mapping[str, Kind]] = {
    "frames": "video",
    "seconds": "audio",
    "max_blocks": "text",
    "extend": "text",
    "lead_tokens": "text",
    "length": "text",
    "block": "text",
    "size": "image",
    "guidance_image": "image",
    "edit": "image",
    "inpaint": "image",
    "outpaint": "image",
    **dict.fromkeys(SPOKEN, "audio"),
}
LENGTHS: Final = ("frames", "seconds", "length", "size")
# what a sequence is made of, which is none of GenerationOptions
OF_THE_SEQUENCE: Final = (*LENGTHS, "edit", "inpaint", "outpaint", *SPOKEN)


@dataclass(frozen=True)
class Request:
    """An answer of a kind, generated by some settings."""

    kind: Kind
    settings: Settings

    @classmethod
    def of(cls, kind: str, given: Mapping[str, Any]) -> Request:
        """UsageError: an unknown kind, or a setting that does not exist, with the nearest name."""
        from nextomni_edge.modalities.table import MODALITIES as TABLE

        if kind not in TABLE:
            raise UsageError(f"answer in {kind!r}: expected one of {', '.join(TABLE)}")
        known = Settings.__annotations__
        for name in given.keys() - known.keys():
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise UsageError(f"no setting {name!r}; {hint}")
        stated = {name: value for name, value in given.items() if value is not None}
        return cls(kind, cast("Settings", stated))

    def fitting(self, kind: Kind) -> Request:
        """The request for another kind, without the settings that are not of that kind."""
        kept = {
            name: value
            for name, value in self.settings.items()
            if OF_A_KIND.get(name, kind) == kind
        }
        return Request(kind, cast("Settings", kept))

    def with_settings(self, given: Mapping[str, Any]) -> Request:
        """The request with other settings in place of its own."""
        return Request.of(self.kind, {**self.settings, **given})

    def options(self, config: ModelConfig) -> GenerationOptions:
        """How to generate it. UsageError: a value out of its range, or values that do not go
        together."""
        from nextomni_edge.generate.options import GenerationOptions

        given: dict[str, Any] = {
            name: value for name, value in self.settings.items() if name not in OF_THE_SEQUENCE
        }
        if "grid" in given:
            given["grid"] = tuple(given["grid"])
            given.setdefault("steps", len(given["grid"]) - 1)
        return GenerationOptions.defaults(config, self.kind, **given)

    def count(self, config: ModelConfig) -> int | None:
        """Frames, or audio tokens, to generate; None is the model's default. UsageError: a length
        that the kind does not have, or that the model cannot make."""
        for name in LENGTHS:
            mixed = config.mixes and name == "length"  # all its answers are of tokens
            if name in self.settings and self.kind != OF_A_KIND[name] and not mixed:
                raise UsageError(f"--{name} is for {OF_A_KIND[name]}, but {self.kind} is asked for")
        if "seconds" in self.settings:
            return audio_tokens(self.settings["seconds"], config.audio)
        return self.settings.get("frames")

    def size(self) -> tuple[int, int] | None:
        """(width, height) of a picture; None is the model's default. UsageError: not two sides."""
        if "size" not in self.settings:
            return None
        sides = tuple(self.settings["size"])
        if len(sides) != 2 or not all(type(side) is int and 0 < side < 2**20 for side in sides):
            raise UsageError(f"size {sides}: expected a width and a height in pixels")
        return sides

    def check_causal(self) -> None:
        """UsageError: settings of a flow, asked of an autoregressive model."""
        if meant := [name for name in self.settings if name not in ("seed", *LENGTHS)]:
            raise UsageError(
                f"{', '.join(meant)}: this model is autoregressive, those are settings of a flow;"
                " leave them out"
            )


def audio_tokens(seconds: float, config: AudioConfig) -> int:
    """Tokens of a sound of so many seconds. UsageError: more than the model makes, or no
    length."""
    per_token = config.hop * config.frames_per_token
    tokens = math.ceil(seconds * config.sample_rate / per_token) if math.isfinite(seconds) else 0
    if not 1 <= tokens <= config.max_positions:
        most = config.max_positions * per_token / config.sample_rate
        raise UsageError(
            f"{seconds:g} seconds of sound: the model makes up to {most:.2f} s; ask for over 0 and"
            f" at most {most:.2f}"
        )
    return tokens


def grid_times(text: str) -> tuple[float, ...]:
    """Times out of `0,0.25,1`. UsageError: not a row of numbers."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--grid {text!r}: expected times with commas between them, such as 0,0.25,1"
        ) from error
