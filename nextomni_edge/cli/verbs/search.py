"""`search`: index a folder of mixed media, and find in it by a text, a picture, a sound or a
video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nextomni_edge.api.settings import MODALITIES
from nextomni_edge.cli import numbers
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import Command, Console, common_options
from nextomni_edge.cli.model import load_model, runtime_options, trust_options
from nextomni_edge.cli.streams import argument_text
from nextomni_edge.errors import InputError, UsageError

if TYPE_CHECKING:
    from nextomni_edge.api.media import Audio, Image, Video
    from nextomni_edge.bundle.trust import Trust
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.search import Hit
    from nextomni_edge.search.update import Report
    from nextomni_edge.tokens.chat import Kind


class FindByDefault(click.Group):
    """`search DIR QUERY` is `search find DIR QUERY`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["find", *args]
        return super().parse_args(ctx, args)


def index_options(command: Command) -> Command:
    """--bundle and --index."""
    command = click.option(
        "--index",
        "index_file",
        type=click.Path(path_type=Path),
        help="Index file; in the folder by default.",
    )(command)
    return click.option(
        "--bundle",
        type=BUNDLE,
        required=True,
        envvar="NEXTOMNI_EDGE_BUNDLE",
        show_envvar=True,
        help="The bundle that embeds.",
    )(command)


@click.group(cls=FindByDefault)
def search() -> None:
    """Find files of any modality by a query of any modality.

    \b
    nextomni-edge search index DIR --bundle BUNDLE
    nextomni-edge search DIR "a red rocket" --bundle BUNDLE
    nextomni-edge search DIR --image day.png "at night" --bundle BUNDLE
    nextomni-edge search watch DIR --bundle BUNDLE

    A folder named "index", "find" or "watch" is written ./index, ./find, ./watch.
    """


@search.command()
@click.argument("folder", type=click.Path(path_type=Path))
@index_options
@runtime_options
@trust_options
@common_options
def index(
    console: Console,
    folder: Path,
    bundle: Path,
    index_file: Path | None,
    execution: Execution,
    trust: Trust,
) -> None:
    """Embed every text, picture, sound and video under FOLDER; a second run embeds only what is
    new.

    Long sounds and films are embedded by windows. Hidden files and links are left out. An
    interrupted run continues where it was.
    """
    from nextomni_edge.search import index as update

    place = index_place(folder, index_file, bundle)
    model = load_model(console, bundle, execution, trust)
    with console.progress("index") as advance:
        report = update(folder, model, index_file, advance)
    tell(console, place, report)


@search.command()
@click.argument("folder", type=click.Path(path_type=Path))
@index_options
@runtime_options
@trust_options
@common_options
def watch(
    console: Console,
    folder: Path,
    bundle: Path,
    index_file: Path | None,
    execution: Execution,
    trust: Trust,
) -> None:
    """As `search index`, now and after every change under FOLDER, until Ctrl-C."""
    from nextomni_edge.search import watch as follow

    place = index_place(folder, index_file, bundle)
    model = load_model(console, bundle, execution, trust)
    for report in follow(folder, model, index_file):
        tell(console, place, report)


def index_place(folder: Path, index_file: Path | None, bundle: Path) -> Path:
    """Where the index goes. UsageError: into the bundle, or there is no folder. InputError: an
    index of an older version."""
    from nextomni_edge.outputs import refuse_overlap
    from nextomni_edge.search import index_file as placed

    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")
    place = placed(folder, index_file)
    refuse_overlap(place, [bundle])
    return place


def tell(console: Console, place: Path, report: Report) -> None:
    """What one run over the folder did."""
    for _, reason in report.skipped:
        console.warn(f"skipped {reason}")
    result = {
        "index": str(place),
        "embedded": report.embedded,
        "kept": report.kept,
        "removed": report.removed,
        "skipped": [{"path": name, "reason": reason} for name, reason in report.skipped],
    }
    counts = (
        f"{report.embedded} embedded, {report.kept} kept, {report.removed} removed,"
        f" {len(report.skipped)} skipped"
    )
    console.result(result, f"{place}: {counts}")


@search.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("query", required=False)
@click.option(
    "--image", type=click.Path(path_type=Path), multiple=True, help="Find by a picture; repeatable."
)
@click.option(
    "--audio", type=click.Path(path_type=Path), multiple=True, help="Find by a sound; repeatable."
)
@click.option(
    "--video", type=click.Path(path_type=Path), multiple=True, help="Find by a video; repeatable."
)
@click.option(
    "-n",
    "--count",
    type=numbers.COUNT,
    default=5,
    show_default=True,
    help="How many to show.",
)
@click.option("--kind", type=click.Choice(MODALITIES), help="Only files of this kind.")
@click.option("--within", help="Only files below this folder, relative to FOLDER.")
@click.option("--trim", is_flag=True, help="Keep the first chunk of a long sound.")
@index_options
@runtime_options
@trust_options
@common_options
def find(
    console: Console,
    folder: Path,
    query: str | None,
    image: tuple[Path, ...],
    audio: tuple[Path, ...],
    video: tuple[Path, ...],
    count: int,
    kind: Kind | None,
    within: str | None,
    trim: bool,
    bundle: Path,
    index_file: Path | None,
    execution: Execution,
    trust: Trust,
) -> None:
    """The files nearest to QUERY, to pictures, sounds or videos, or to several of these together,
    by cosine, best first.

    Parts of one query count equally: the mean of their embeddings is compared. Of a long sound or
    film, the nearest window's seconds are shown.
    """
    from nextomni_edge.api.opening import identity
    from nextomni_edge.search import nearest, open_index

    parts = query_parts(query, image, audio, video)
    # opened before the model is loaded, and not again: it stays the file that was checked
    with open_index(folder, identity(bundle), index_file) as table:
        model = load_model(console, bundle, execution, trust)
        hits = nearest(table, folder, parts, model, count, kind, within=within, trim=trim)
    results = [
        {"path": str(hit.path), "kind": hit.kind, "cosine": round(hit.cosine, 6),
         "start": hit.start, "stop": hit.stop}
        for hit in hits
    ]  # fmt: skip
    console.result({"results": results}, "\n".join(line(hit) for hit in hits))


def query_parts(
    query: str | None, image: tuple[Path, ...], audio: tuple[Path, ...], video: tuple[Path, ...]
) -> tuple[str | Image | Audio | Video, ...]:
    """One query of all that was given. UsageError: nothing, or an empty text."""
    from nextomni_edge.api.media import Audio, Image, Video

    text = None if query is None else argument_text(query, "QUERY")
    if text is not None and not text.strip():
        raise UsageError("the query is empty")
    parts: tuple[str | Image | Audio | Video, ...] = (
        *([] if text is None else [text]), *map(Image, image), *map(Audio, audio),
        *map(Video, video),
    )  # fmt: skip
    if not parts:
        raise UsageError("no query: give QUERY, --image, --audio or --video, or several of them")
    return parts


def line(hit: Hit) -> str:
    """One result for a person."""
    when = "" if hit.start is None or hit.stop is None else f"  {hit.start:.1f}-{hit.stop:.1f} s"
    return f"{hit.cosine:.4f}  {hit.kind:<5}  {hit.path}{when}"
