"""`run`: any modality in, any modality out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.cli.generation import MODALITIES, Request, answer_sequence, generation_options
from nextomni_edge.cli.model import open_model, runtime_options
from nextomni_edge.cli.variant import choose, variant_option
from nextomni_edge.errors import InputError, UsageError

if TYPE_CHECKING:
    from nextomni_edge.cli.answer import Answer
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.steps import StepRecord
    from nextomni_edge.media.parts import Encoder
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.chat import Kind, Part, Turn


class InOrder(click.Command):
    """Keeps the order in which --text, --image, --audio and --video were given: `parts` is [(kind,
    value), ...]."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        given = {kind: iter(ctx.params.pop(kind)) for kind in MODALITIES}
        ctx.params["parts"] = [
            (param.name, next(given[param.name])) for param in order if param.name in given
        ]
        return rest


@click.command(cls=InOrder)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--text", multiple=True, help="Text of the prompt; - reads standard input.")
@click.option("--image", multiple=True, metavar="FILE", help="A picture, any format Pillow reads.")
@click.option(
    "--audio", multiple=True, metavar="FILE", help="A sound, any format soundfile or PyAV reads."
)
@click.option("--video", multiple=True, metavar="FILE", help="A film or an animated picture.")
@click.option(
    "--to",
    "kind",
    type=click.Choice(MODALITIES),
    default="text",
    show_default=True,
    help="Modality of the answer.",
)
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    help="File for the answer; its suffix chooses the format.",
)
@click.option("--trim", is_flag=True, help="Cut sounds that are longer than the model takes.")
@click.option(
    "--save-trace",
    type=OUTPUT,
    metavar="FILE",
    help="Write x_t and x_1 of every step as safetensors.",
)
@click.option(
    "--stream",
    is_flag=True,
    help="Show the answer as it forms: text on stderr, a picture as an animation (-o FILE.gif).",
)
@variant_option
@generation_options
@runtime_options
@common_options
def run(
    console: Console,
    bundle: Path,
    parts: list[tuple[Kind, str]],
    kind: Kind,
    output: Path | None,
    trim: bool,
    save_trace: Path | None,
    stream: bool,
    variant: str | None,
    execution: Execution,
    **request: Any,
) -> None:
    """Answer a prompt of any modalities, in the order given, in the modality of --to.

    \b
    nextomni-edge run BUNDLE --text "draw a red rocket" --to image -o rocket.png
    nextomni-edge run BUNDLE --image rocket.png --text "what is this?"
    nextomni-edge run BUNDLE --audio rocket.wav --to image -o rocket.png
    nextomni-edge run variants.json --variant fastest --text "draw a rocket" --to image -o a.png
    """
    from nextomni_edge.tokens.chat import Turn

    check_request(parts, kind, output, save_trace, stream)
    parts = [
        (name, read_stdin() if (name, value) == ("text", "-") else value) for name, value in parts
    ]

    def turns(encoder: Encoder) -> list[Turn]:
        return [Turn("user", tuple(read_part(encoder, name, value, trim) for name, value in parts))]

    bundle, execution = choose(console, bundle, variant, turns, kind, Request(**request), execution)
    started = time.monotonic()
    model = open_model(console, bundle, execution)
    asked = turns(model)
    loaded = time.monotonic()
    answer = answer_and_write(
        console, model, asked, kind, Request(**request), output, save_trace, stream
    )
    finished = time.monotonic()
    providers = ", ".join(model.providers())
    console.note(
        f"loaded in {loaded - started:.2f} s, answered in {finished - loaded:.2f} s on {providers}",
        level=1,
    )
    result = {
        "modality": kind,
        "text": answer.text if kind == "text" else None,
        "file": str(output) if output else None,
    }
    times = {"load_seconds": round(loaded - started, 3), "seconds": round(finished - loaded, 3)}
    console.result(
        result | {"seed": request["seed"], "provider": providers} | times,
        str(output) if output else answer.text,
    )


def answer_and_write(
    console: Console,
    model: EdgeModel,
    turns: list[Turn],
    kind: Kind,
    request: Request,
    output: Path | None,
    save_trace: Path | None,
    stream: bool,
) -> Answer:
    """Generate, and write what was asked for. StoppedError: what there was until then is written
    beside it."""
    from nextomni_edge.cli.answer import read_answer
    from nextomni_edge.cli.stream import open_stream
    from nextomni_edge.cli.trace import Trace
    from nextomni_edge.generate.steps import StoppedError

    trace, film = (
        Trace() if save_trace else None,
        open_stream(console, model, kind) if stream else None,
    )
    watchers = [watcher for watcher in (trace, film) if watcher]

    def observe(record: StepRecord) -> None:
        for watcher in watchers:
            watcher(record)

    try:
        sequence, stopped = (
            answer_sequence(console, model, turns, kind, request, observe if watchers else None),
            None,
        )
    except StoppedError as error:
        sequence, stopped = error.partial[0], error
        output = output.with_name(f"{output.stem}.partial{output.suffix}") if output else None
    answer = read_answer(model, sequence)
    if output:
        if film:
            film.write(output, answer.part, request.fps)
        else:
            answer.write(output, request.fps)
    if trace and save_trace:
        trace.write(save_trace)
    if stopped:
        console.note(f"what there was until then: {output or answer.text}", level=-1)
        raise stopped
    return answer


def check_request(
    parts: list[tuple[Kind, str]],
    kind: Kind,
    output: Path | None,
    save_trace: Path | None,
    stream: bool,
) -> None:
    """UsageError, before a model is loaded, where nothing is asked or the answer could not be
    written."""
    from nextomni_edge.cli.answer import check_output
    from nextomni_edge.cli.stream import check_stream

    if not parts:
        raise UsageError("nothing to answer: give --text, --image, --audio or --video")
    if output is None and kind != "text":
        raise UsageError(f"--to {kind} needs a file: give -o FILE")
    if stream:
        check_stream(kind, output)
    if output:
        check_output("video" if stream and kind == "image" else kind, output)
    if save_trace:
        check_output("text", save_trace)


def read_part(encoder: Encoder, kind: Kind, value: str, trim: bool) -> Part:
    """One option of the command line as a part of the prompt."""
    from nextomni_edge.media.parts import file_part, text_part

    if kind != "text":
        return file_part(encoder, kind, Path(value), trim)
    if not value.strip():
        raise UsageError("--text is empty")
    return text_part(value)


def read_stdin() -> str:
    """Standard input as text."""
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: not UTF-8 text ({error})") from error
