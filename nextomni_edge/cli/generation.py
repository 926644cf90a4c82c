"""The options of a generation, shared by `run` and `chat`, and the call that carries them out."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.console import Command, Console
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.config import ModelConfig
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.generate.steps import Observe, StepRecord
    from nextomni_edge.tokens.chat import Kind, Turn
    from nextomni_edge.tokens.sequence import Sequence
    from nextomni_edge.tokens.text import TextTokenizer

MODALITIES = ("text", "image", "audio", "video")
LENGTHS = ("frames", "fps", "seconds")  # of a Request, without a place in GenerationOptions


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line; None leaves a setting to the model's own default."""

    seed: int
    steps: int | None
    stepper: str | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    guidance: float | None
    max_blocks: int | None
    eos_threshold: float | None
    extend: str | None
    lead_tokens: int | None
    grid: str | None
    kv_cache: str | None
    refresh_prompt: int | None
    refresh: int | None
    cache_threshold: float | None
    cache_share: float | None
    cache_drift: float | None
    frames: int | None
    fps: float
    seconds: float | None

    def settings(self) -> dict[str, Any]:
        """Those that are GenerationOptions. UsageError: a grid that is no row of numbers."""
        given = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in LENGTHS
        }
        if self.grid is not None:
            times = grid_times(self.grid)
            given |= {"grid": times, "steps": len(times) - 1 if self.steps is None else self.steps}
        return given

    def fitting(self, kind: Kind) -> Request:
        """The request without the lengths of other kinds: in a chat the kind changes from turn to
        turn."""
        return dataclasses.replace(
            self,
            frames=self.frames if kind == "video" else None,
            seconds=self.seconds if kind == "audio" else None,
            max_blocks=self.max_blocks if kind == "text" else None,
            extend=self.extend if kind == "text" else None,
            lead_tokens=self.lead_tokens if kind == "text" else None,
        )

    def count(self, config: ModelConfig, kind: Kind) -> int | None:
        """Frames, or audio tokens, to generate; None is the model's default. UsageError: a length
        the kind has not."""
        if self.frames is not None and kind != "video":
            raise UsageError(f"--frames is for video, but {kind} is asked for")
        if self.seconds is not None and kind != "audio":
            raise UsageError(f"--seconds is for audio, but {kind} is asked for")
        if kind == "audio" and self.seconds is not None:
            return math.ceil(
                self.seconds
                * config.audio.sample_rate
                / (config.audio.hop * config.audio.frames_per_token)
            )
        return self.frames if kind == "video" else None


def grid_times(text: str) -> tuple[float, ...]:
    """Times out of `0,0.25,1`. UsageError: not a row of numbers."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--grid {text!r}: expected times with commas between them, such as 0,0.25,1"
        ) from error


def generation_options(command: Command) -> Command:
    """The options that a Request is made of."""
    options = [
        click.option(
            "--seed",
            type=numbers.SEED,
            default=0,
            show_default=True,
            help="Same seed, same answer.",
        ),
        click.option(
            "--steps",
            type=numbers.STEPS,
            help="Steps of the flow; the model's own number by default.",
        ),
        click.option("--stepper", help="euler, or corrected: closer to the path at few steps."),
        click.option(
            "--temperature", type=numbers.SETTING, help="Of the draws; 0 takes the likeliest."
        ),
        click.option("--top-k", type=numbers.OPTIONAL_COUNT, help="Draw among the k likeliest."),
        click.option("--top-p", type=numbers.SHARE, help="Draw among the likeliest that sum to p."),
        click.option(
            "--guidance", type=numbers.SETTING, help="Classifier-free guidance s; 0 is none."
        ),
        click.option(
            "--max-blocks", type=numbers.COUNT, help="Text: grow the answer up to so many blocks."
        ),
        click.option(
            "--eos-threshold",
            type=numbers.SHARE,
            help="Text: the probability of its end at which it is long enough.",
        ),
        click.option("--extend", help="Text: grow first, or interleaved with the steps."),
        click.option(
            "--lead-tokens",
            type=numbers.OPTIONAL_COUNT,
            help="Text: so many tokens first, then the rest, which sees them as given.",
        ),
        click.option(
            "--grid",
            metavar="T,T,...",
            help="Times of the steps, rising from 0 to 1; evenly spaced by default.",
        ),
        click.option(
            "--kv-cache",
            help=(
                "Keep keys and values: none, prefix, adaptive or revised; all but none approximate."
            ),
        ),
        click.option(
            "--refresh-prompt",
            type=numbers.OPTIONAL_COUNT,
            help="Compute the prompt's keys and values again every so many forwards.",
        ),
        click.option(
            "--refresh",
            type=numbers.OPTIONAL_COUNT,
            help="Compute the answer's keys and values again every so many forwards.",
        ),
        click.option(
            "--cache-threshold",
            type=numbers.COSINE,
            help="adaptive: compute rows again whose similarity is below this.",
        ),
        click.option(
            "--cache-share",
            type=numbers.SHARE,
            help="adaptive: compute this share again, the least alike first.",
        ),
        click.option(
            "--cache-drift",
            type=numbers.SETTING,
            help="Compute everything again once each token has changed this often on average.",
        ),
        click.option("--frames", type=numbers.COUNT, help="Video: how many frames."),
        click.option(
            "--fps",
            type=numbers.FRAMES_PER_SECOND,
            default=8.0,
            show_default=True,
            help="Video: speed of the file.",
        ),
        click.option("--seconds", type=numbers.SECONDS, help="Audio: how long."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def next_token_sequence(
    console: Console, model: EdgeModel, turns: list[Turn], kind: Kind, request: Request
) -> Sequence:
    """The assistant's next turn from an autoregressive model, as long as it makes it. UsageError:
    settings of a flow."""
    from nextomni_edge.generate.autoregressive import greedy
    from nextomni_edge.generate.meter import Meter
    from nextomni_edge.tokens.chat import conversation, respond

    if meant := [
        name for name, value in request.settings().items() if value is not None and name != "seed"
    ]:
        raise UsageError(
            f"{', '.join(meant)}: this model is autoregressive, those are settings of a flow; leave"
            " them out"
        )
    request.count(model.config, kind)
    blocks = model.config.text.max_blocks if kind == "text" else None
    sequence, meter = (
        respond(
            conversation(model.tokenizer, turns, kind), kind, model.config, model.tokenizer, blocks
        ),
        Meter(),
    )
    found = greedy(model, [sequence], meter=meter)[0]
    console.note(f"{meter.forwards} forwards", level=1)
    return found


def asked(
    config: ModelConfig, tokenizer: TextTokenizer, turns: list[Turn], kind: Kind, request: Request
) -> tuple[Sequence, GenerationOptions]:
    """The sequence to complete, and how. UsageError: settings that don't go together, or more than
    the model takes."""
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.tokens.chat import conversation, respond

    options = GenerationOptions.defaults(config, kind, **request.settings())
    sequence = respond(
        conversation(tokenizer, turns, kind), kind, config, tokenizer, request.count(config, kind)
    )
    limit = config.backbone.max_positions
    if sequence.length > limit:
        raise UsageError(
            f"the conversation and its answer are {sequence.length} positions, the model takes"
            f" {limit}; shorten it"
        )
    return sequence, options


def answer_sequence(
    console: Console,
    model: EdgeModel,
    turns: list[Turn],
    kind: Kind,
    request: Request,
    observe: Observe | None = None,
) -> Sequence:
    """Generate the assistant's next turn, and say what an approximation left out.

    UsageError: settings that don't go together, or more than the model takes.
    """
    from nextomni_edge.generate.loop import generate
    from nextomni_edge.generate.meter import Meter

    if model.config.causal:
        return next_token_sequence(console, model, turns, kind, request)
    sequence, options = asked(model.config, model.tokenizer, turns, kind, request)
    meter = Meter()
    with console.progress(f"{kind} in {options.all_steps} steps") as advance:

        def seen(record: StepRecord) -> None:
            advance(record.step + 1, options.all_steps, "")
            if observe:
                observe(record)

        # watching makes the sampler measure its margins, so nobody watches for nothing
        found = generate(
            model, sequence, options, seen if observe or console.shows_progress else None, meter
        )
    console.note(f"{meter.forwards} forwards in {meter.steps} steps", level=1)
    if options.cache.policy != "none":
        whole = meter.rows + meter.rows_reused
        console.note(
            f"kept keys and values approximate: {meter.rows_reused:,} of {whole:,} positions were"
            " not computed again"
        )
    return found
