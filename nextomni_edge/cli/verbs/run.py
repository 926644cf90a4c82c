"""`run`: any modality in, any modality out."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nextomni_edge.api.settings import MODALITIES, Request
from nextomni_edge.cli import numbers
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.cli.generation import generation_options, request_of, watch
from nextomni_edge.cli.headings import HeadedCommand, under
from nextomni_edge.cli.model import load_model, runtime_options, trust_options
from nextomni_edge.cli.streams import argument_text, check_stdout, put_bytes, read_stdin
from nextomni_edge.cli.variant import choose, variant_option
from nextomni_edge.cli.via import Via, via_options
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.api.answer import Answer
    from nextomni_edge.api.model import Model
    from nextomni_edge.bundle.trust import Trust
    from nextomni_edge.cli.stream import Film
    from nextomni_edge.media.parts import Encoder
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.chat import Kind, Part, Turn

STDOUT: Final = Path("-")
ON_STDOUT: Final = {"text": ".txt", "image": ".png", "audio": ".wav", "video": ".gif"}
the_prompt, the_answer = under("Prompt"), under("Answer")


class InOrder(HeadedCommand):
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


@dataclass(frozen=True)
class Wanted:
    """Where the answer goes, and what is kept or shown on the way. `output` "-" is standard
    output."""

    output: Path | None
    fps: float
    scale: int
    trace: Path | None
    stream: bool

    @property
    def file(self) -> Path | None:
        return None if self.output == STDOUT else self.output

    def kind(self, stated: str | None) -> Kind:
        """The modality asked for: the one stated, or the one that the file's suffix holds.
        UsageError: a suffix that tells none."""
        from nextomni_edge.api.output import kind_of_output
        from nextomni_edge.modalities.text import TEXT

        if stated is not None or self.file is None:
            return stated or TEXT.name
        if not self.stream:
            return kind_of_output(self.file)
        # what --stream shows of a picture is a film
        return TEXT.name if self.file.suffix.lower() in TEXT.formats else "image"

    def check(self, kind: Kind, as_json: bool) -> None:
        """UsageError, before a model is loaded, where the answer could not be written."""
        from nextomni_edge.api.output import check_output, check_place
        from nextomni_edge.cli.stream import check_stream

        if self.output is None and kind != "text":
            raise UsageError(f"--to {kind} needs a file: give -o FILE")
        if self.scale != 1 and kind not in ("image", "video"):
            raise UsageError(f"--scale is for pictures and videos, but {kind} is asked for")
        if self.output == STDOUT:
            self._check_stdout(kind, as_json)
        if self.stream:
            check_stream(kind, self.file)
        if self.file:
            check_output("video" if self.stream and kind == "image" else kind, self.file)
        if self.trace:
            check_place(self.trace)

    def _check_stdout(self, kind: Kind, as_json: bool) -> None:
        if as_json:
            raise UsageError("-o - and --json both write to standard output; leave one out")
        if self.stream and kind == "image":
            raise UsageError("--stream writes a film: name a file, such as -o film.gif")
        check_stdout()
        if kind != "text" and sys.stdout.isatty():
            raise UsageError("-o - would write bytes to the terminal; pipe it, or name a file")

    def write(self, answer: Answer, film: Film | None, place: Path | None) -> None:
        """The answer, or the film of it, into the file `place`, or to standard output."""
        if self.output == STDOUT:
            data = answer.encode(ON_STDOUT[answer.modality], self.fps, self.scale)
            put_bytes(data, ON_STDOUT[answer.modality])
        elif place and film:
            film.write(place, self.fps, self.scale)
        elif place:
            answer.save(place, self.fps, self.scale)


@click.command(cls=InOrder)
@click.argument("bundle", type=BUNDLE)
@the_prompt("--text", multiple=True, help="A text; - reads standard input.")
@the_prompt("--image", multiple=True, metavar="FILE", help="A picture, any format Pillow reads.")
@the_prompt(
    "--audio", multiple=True, metavar="FILE", help="A sound, any format soundfile or PyAV reads."
)
@the_prompt("--video", multiple=True, metavar="FILE", help="A film or an animated picture.")
@the_prompt("--trim", is_flag=True, help="Keep the first chunk of a long sound.")
@via_options
@the_answer(
    "--to",
    "stated",
    type=click.Choice(MODALITIES),
    help="Modality of the answer; by default what the file of -o holds, else text.",
)
@the_answer(
    "-o",
    "--output",
    type=OUTPUT,
    help=(
        "File for the answer; its suffix chooses the format. - writes to standard output: text,"
        " PNG, WAV or GIF."
    ),
)
@the_answer(
    "--scale",
    type=numbers.SCALE,
    default=1,
    show_default=True,
    help="Enlarge a picture or a video so many times, each pixel to a square.",
)
@the_answer(
    "--stream",
    is_flag=True,
    help=(
        "Show the answer as it forms: text on stderr, a picture as a film (-o FILE.gif), speech by"
        " sentences (-o - to a player)."
    ),
)
@the_answer(
    "--save-trace",
    type=OUTPUT,
    metavar="FILE",
    help="Write x_t and x_1 of every step as safetensors.",
)
@generation_options
@variant_option
@runtime_options
@trust_options
@common_options
def run(
    console: Console,
    bundle: Path,
    parts: list[tuple[Kind, str]],
    stated: str | None,
    output: Path | None,
    scale: int,
    trim: bool,
    save_trace: Path | None,
    stream: bool,
    via: Via | None,
    variant: str | None,
    execution: Execution,
    trust: Trust,
    **given: Any,
) -> None:
    """Answer a prompt of any modalities, in the order given, in the modality of --to.

    \b
    nextomni-edge run BUNDLE --text "draw a red rocket" -o rocket.png
    nextomni-edge run BUNDLE --image rocket.png --text "what is this?"
    nextomni-edge run BUNDLE --audio rocket.wav -o rocket.png --scale 8
    nextomni-edge run BUNDLE --text "a red rocket" --to image --stream -o film.gif
    nextomni-edge run variants.json --variant fastest --text "a rocket" -o a.png
    nextomni-edge run BUNDLE --text "Hello." --to audio --stream -o - | play -
    nextomni-edge run BUNDLE --audio a.wav --via text --text "draw {}" -o a.png
    """
    from nextomni_edge.api.prompt import turn_of

    if not parts:
        raise UsageError("nothing to answer: give --text, --image, --audio or --video")
    wanted = Wanted(output, given["fps"], scale, save_trace, stream)
    kind = wanted.kind(stated)
    wanted.check(kind, console.as_json)
    prompt = tuple(read_part(name, value) for name, value in parts)
    if via:
        via.check(prompt)
    request = request_of(kind, given)

    def turns(encoder: Encoder) -> list[Turn]:
        return [turn_of(encoder, prompt, trim)]

    bundle, execution = choose(console, bundle, variant, turns, request, execution)
    started = time.monotonic()
    model = load_model(console, bundle, execution, trust)
    parts_asked = turns(model.edge)[0].parts
    if via:
        parts_asked = via.prompt(console, model, parts_asked, request.settings.get("seed", 0))
    loaded = time.monotonic()
    if stream and kind == "audio":
        from nextomni_edge.cli.spoken import speak

        speak(console, model, parts_asked, request, wanted.file)
        answer = None
    else:
        answer = answer_and_write(console, model, parts_asked, request, wanted)
    seconds = {"load_seconds": loaded - started, "seconds": time.monotonic() - loaded}
    tell(console, model, request, answer, output, seconds)


def tell(
    console: Console,
    model: Model,
    request: Request,
    answer: Answer | None,
    output: Path | None,
    seconds: dict[str, float],
) -> None:
    """Print what was answered, or where it was written. An answer on standard output
    is the only output there, and an empty answer prints no empty line."""
    providers = ", ".join(model.providers)
    console.note(
        f"loaded in {seconds['load_seconds']:.2f} s, answered in {seconds['seconds']:.2f} s on"
        f" {providers}",
        level=1,
    )
    text = answer.text if answer and request.kind == "text" else None
    if output == STDOUT or not (console.as_json or output or (text or "").strip()):
        return
    result = {
        "modality": request.kind,
        "text": text,
        "file": str(output) if output else None,
        "seed": request.settings.get("seed", 0),
        "provider": providers,
        **{name: round(value, 3) for name, value in seconds.items()},
    }
    console.result(result, str(output) if output else text or "")


def answer_and_write(
    console: Console, model: Model, prompt: tuple[Part, ...], request: Request, wanted: Wanted
) -> Answer:
    """Generate, and write what was asked for. StoppedError: what there was until then is written
    next to it."""
    from nextomni_edge.api.answer import Answer
    from nextomni_edge.cli.stream import Film, TextStream
    from nextomni_edge.cli.trace import Trace
    from nextomni_edge.generate.meter import Meter
    from nextomni_edge.generate.steps import StoppedError

    trace = Trace() if wanted.trace else None
    film = Film(model) if wanted.stream and request.kind == "image" else None
    text = TextStream(console) if wanted.stream and not film else None
    watchers = [watcher for watcher in (trace, film, text) if watcher]
    place, stopped = wanted.file, None
    steps = model.stream(prompt, request.kind, margins=trace is not None, **request.settings)
    try:
        answer = watch(console, model.config, request, steps, watchers, prints=text is not None)
    except StoppedError as error:
        stopped, answer = error, Answer(model.edge, error.partial[0], Meter())
        place = place.with_name(f"{place.stem}.partial{place.suffix}") if place else None
    wanted.write(answer, film, place)
    if trace and wanted.trace:
        trace.write(wanted.trace)
    if stopped:
        console.note(f"what there was until then: {place or answer}", level=-1)
        raise stopped
    return answer


def read_part(kind: Kind, value: str) -> Any:
    """One option of the command line as an item of a prompt."""
    from nextomni_edge.api.media import Audio, Image, Video

    if kind != "text":
        return {"image": Image, "audio": Audio, "video": Video}[kind](value)
    text = read_stdin() if value == "-" else argument_text(value, "--text")
    if not text.strip():
        raise UsageError("--text is empty")
    return text
