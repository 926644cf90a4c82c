"""The options of a generation, shared by `run`, `chat` and `bench`, and the watching of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nextomni_edge.api.settings import Request, grid_times
from nextomni_edge.cli import numbers
from nextomni_edge.cli.console import Command, Console
from nextomni_edge.cli.headings import under
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.api.answer import Answer
    from nextomni_edge.api.step import Step
    from nextomni_edge.config import ModelConfig

EMPTY = (
    "the answer is empty: the model ended it at once; the prompt may be outside what the model was"
    " trained on"
)


def request_of(kind: str, given: Mapping[str, Any]) -> Request:
    """What `generation_options` were given, but for --fps. UsageError: a grid that is no row of
    numbers."""
    settings = {name: value for name, value in given.items() if name != "fps"}
    if settings["grid"] is not None:
        settings["grid"] = grid_times(settings["grid"])
    if settings["size"] is not None:
        settings["size"] = picture_size(settings["size"])
    for name in ("inpaint", "outpaint"):
        if settings[name] is not None:
            settings[name] = picture_shares(name, settings[name])
    return Request.of(kind, settings)


def picture_size(text: str) -> tuple[int, int]:
    """(width, height) out of `768x512`. UsageError: not such a size."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and len(text) < 16):
        raise UsageError(f"--size {text[:40]!r}: expected a width and a height, such as 768x512")
    return int(width), int(height)


def picture_shares(name: str, text: str) -> tuple[float, float]:
    """(of the width, of the height) out of `0.5x0.25`. UsageError: no two numbers."""
    try:
        width, height = (float(share) for share in text.split("x"))
    except ValueError as error:
        raise UsageError(
            f"--{name} {text[:40]!r}: expected shares of the width and height, such as 0.5x0.5"
        ) from error
    return width, height


def generation_options(command: Command) -> Command:
    """The options that a Request is made of, and --fps."""
    groups = (
        _sampling(), _guidance(), _lengths(), _masked(), _masked_pictures(), _spoken(), _cache(),
    )  # fmt: skip
    for option in reversed([option for group in groups for option in group]):
        command = option(command)
    return command


def _sampling() -> list[Callable[[Command], Command]]:
    sampling = under("Sampling")
    return [
        sampling(
            "--seed",
            type=numbers.SEED,
            default=0,
            show_default=True,
            help="Same seed, same answer.",
        ),
        sampling(
            "--steps",
            type=numbers.STEPS,
            help="Steps of the flow; the model's own number by default.",
        ),
        sampling(
            "--stepper",
            help=(
                "euler, or corrected: closer to the path at few steps. Masked models: commit, or"
                " jump."
            ),
        ),
        sampling(
            "--temperature", type=numbers.SETTING, help="Of the draws; 0 takes the likeliest."
        ),
        sampling("--top-k", type=numbers.OPTIONAL_COUNT, help="Draw among the k likeliest."),
        sampling("--top-p", type=numbers.SHARE, help="Draw among the likeliest that sum to p."),
        sampling(
            "--grid",
            metavar="T,T,...",
            help="Times of the steps, rising from 0 to 1; evenly spaced by default.",
        ),
    ]


def _guidance() -> list[Callable[[Command], Command]]:
    guidance = under("Guidance")
    return [
        guidance("--guidance", type=numbers.SETTING, help="Classifier-free guidance s; 0 is none."),
        guidance(
            "--guidance-until",
            type=numbers.SHARE,
            help="Guide at times up to this one only: later steps take half the work.",
        ),
    ]


def _lengths() -> list[Callable[[Command], Command]]:
    text, media = under("Length of a text"), under("Length of a sound or a video")
    return [
        text("--max-blocks", type=numbers.COUNT, help="Grow the answer up to this many blocks."),
        text(
            "--eos-threshold",
            type=numbers.SHARE,
            help="The probability of its end at which the answer is long enough.",
        ),
        text("--extend", help="Grow first, or interleaved with the steps."),
        text(
            "--lead-tokens",
            type=numbers.OPTIONAL_COUNT,
            help="This many tokens first, then the rest, which sees them as given.",
        ),
        media("--seconds", type=numbers.SECONDS, help="How long the sound is, in seconds."),
        media("--frames", type=numbers.COUNT, help="How many frames the video has."),
        media(
            "--fps",
            type=numbers.FRAMES_PER_SECOND,
            default=8.0,
            show_default=True,
            help="Frames per second of the video's file.",
        ),
    ]


def _masked() -> list[Callable[[Command], Command]]:
    masked = under("Masked models")
    return [
        masked("--length", type=numbers.COUNT, help="Tokens of the answer."),
        masked(
            "--block",
            type=numbers.OPTIONAL_COUNT,
            help="Tokens that are finished before the next ones begin; 0 is all.",
        ),
        masked(
            "--threshold",
            type=numbers.SHARE,
            help="Write every token whose probability is over it.",
        ),
        masked(
            "--repeat-penalty",
            type=numbers.SETTING,
            help="From 1 on: less of what the answer holds already.",
        ),
        masked(
            "--position-penalty",
            type=numbers.SETTING,
            help="From 1 on: the rows far behind are written later.",
        ),
        masked(
            "--draw-temperature",
            type=numbers.SETTING,
            help="Of the draws, where --temperature is that of the order of writing.",
        ),
        masked("--shift", type=numbers.SETTING, help="Under 1: fewer tokens are written at first."),
        masked(
            "--codebook-penalty",
            type=numbers.SETTING,
            help="How much the first codebooks of a token are written first.",
        ),
    ]


def _masked_pictures() -> list[Callable[[Command], Command]]:
    drawn = under("Pictures of masked models")
    return [
        drawn(
            "--size",
            metavar="WIDTHxHEIGHT",
            help="Pixels of the picture, such as 768x512.",
        ),
        drawn(
            "--guidance-image",
            type=numbers.SETTING,
            help="How much a picture that is edited is kept.",
        ),
        drawn(
            "--edit",
            help=(
                "What the given picture is for: edit (the default), control, subject, style, view,"
                " dense or other."
            ),
        ),
        drawn(
            "--inpaint",
            metavar="WIDTHxHEIGHT",
            help="Draw the middle of the picture again: shares of its sides, such as 0.5x0.5.",
        ),
        drawn(
            "--outpaint",
            metavar="WIDTHxHEIGHT",
            help="Keep the middle of the picture, and draw everything around it again.",
        ),
    ]


def _spoken() -> list[Callable[[Command], Command]]:
    spoken = under("Speech in a voice")
    return [
        spoken(
            "--voice",
            metavar="FILE",
            help="A clip of the voice to speak in, best of 3 to 10 seconds.",
        ),
        spoken("--voice-text", metavar="TEXT", help="What the clip says."),
        spoken(
            "--voice-design",
            metavar="WORDS",
            help='Words for a voice, without a clip: "female, low pitch, british accent".',
        ),
        spoken("--language", metavar="NAME", help="Of the text, by name or code: English, en."),
        spoken("--speed", type=numbers.SETTING, help="2 is twice as fast as the voice's pace."),
        spoken("--keep-noise", is_flag=True, default=None, help="Speak with the clip's noise."),
        spoken("--keep-silence", is_flag=True, default=None, help="Leave long silences in."),
    ]


def _cache() -> list[Callable[[Command], Command]]:
    cache = under("Cache (approximates)")
    return [
        cache(
            "--kv-cache",
            help=(
                "Keep keys and values: none, prefix, adaptive or revised; of masked models also"
                " blocks, dual or logits."
            ),
        ),
        cache(
            "--refresh-prompt",
            type=numbers.OPTIONAL_COUNT,
            help="Recompute those of the prompt every so many forwards.",
        ),
        cache(
            "--refresh",
            type=numbers.OPTIONAL_COUNT,
            help="Recompute those of the answer every so many forwards.",
        ),
        cache(
            "--cache-threshold",
            type=numbers.COSINE,
            help="adaptive: recompute rows that are less alike than this.",
        ),
        cache(
            "--cache-share",
            type=numbers.SHARE,
            help="Recompute this share: adaptive, the least alike; logits, the least certain.",
        ),
        cache(
            "--cache-drift",
            type=numbers.SETTING,
            help="Recompute all once so many tokens, for each of the answer's, have changed.",
        ),
        cache(
            "--cache-warmup",
            type=numbers.SHARE,
            help="logits: compute everything in this share of the steps, the first ones.",
        ),
    ]


def watch(
    console: Console,
    config: ModelConfig,
    request: Request,
    steps: Iterable[Step],
    watchers: Iterable[Callable[[Step], None]] = (),
    prints: bool = False,
) -> Answer:
    """Take all steps of a generation, show its progress, and say what an approximation left out.
    `prints`: a watcher writes lines to stderr."""
    watchers, task = list(watchers), str(request.kind)
    if not config.causal:
        task = f"{request.kind} in {request.options(config).all_steps} steps"
    with console.progress(task, among_lines=prints) as advance:
        for step in steps:
            if step.record:
                advance(step.number + 1, step.total, "")
            for watcher in watchers:
                watcher(step)
    meter = step.answer.meter
    console.note(f"{meter.forwards} forwards in {meter.steps} steps", level=1)
    if request.settings.get("kv_cache", "none") != "none":
        whole = meter.rows + meter.rows_reused
        console.note(
            f"kept keys and values approximate: {meter.rows_reused:,} of {whole:,} positions were"
            " not computed again"
        )
    if step.answer.modality == "text" and not step.answer.text.strip():
        console.note(EMPTY)
    return step.answer
