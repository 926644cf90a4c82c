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
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.bundle.trust import Trust
    from nextomni_edge.runtimes.base import Execution
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
    nextomni-edge search DIR --image drawing.png --kind audio --bundle BUNDLE

    A folder named "index" or "find" is written ./index, ./find.
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

    Sounds longer than the model takes are embedded by their beginning. Hidden files and links are
    left out.
    """
    from nextomni_edge.outputs import refuse_overlap
    from nextomni_edge.search import INDEX_NAME
    from nextomni_edge.search import index as update

    refuse_overlap(index_file or folder / INDEX_NAME, [bundle])
    model = load_model(console, bundle, execution, trust)
    with console.progress("index") as advance:
        report = update(folder, model, index_file, advance)
    for _, reason in report.skipped:
        console.warn(f"skipped {reason}")
    result = {
        "index": str(index_file or folder / INDEX_NAME),
        "embedded": report.embedded,
        "kept": report.kept,
        "removed": report.removed,
    }
    result["skipped"] = [{"path": name, "reason": reason} for name, reason in report.skipped]
    counts = (
        f"{report.embedded} embedded, {report.kept} kept, {report.removed} removed,"
        f" {len(report.skipped)} skipped"
    )
    console.result(result, f"{result['index']}: {counts}")


@search.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("query", required=False)
@click.option("--image", type=click.Path(path_type=Path), help="Find by a picture.")
@click.option("--audio", type=click.Path(path_type=Path), help="Find by a sound.")
@click.option("--video", type=click.Path(path_type=Path), help="Find by a video.")
@click.option(
    "-n",
    "--count",
    type=numbers.COUNT,
    default=5,
    show_default=True,
    help="How many to show.",
)
@click.option("--kind", type=click.Choice(MODALITIES), help="Only files of this kind.")
@click.option("--trim", is_flag=True, help="Cut a sound that is longer than the model takes.")
@index_options
@runtime_options
@trust_options
@common_options
def find(
    console: Console,
    folder: Path,
    query: str | None,
    image: Path | None,
    audio: Path | None,
    video: Path | None,
    count: int,
    kind: Kind | None,
    trim: bool,
    bundle: Path,
    index_file: Path | None,
    execution: Execution,
    trust: Trust,
) -> None:
    """The files nearest to QUERY, or to a picture, a sound or a video, by cosine, best first."""
    from nextomni_edge.api.media import Audio, Image, Video
    from nextomni_edge.search import find as nearest

    query = None if query is None else argument_text(query, "QUERY")
    given = [
        query,
        Image(image) if image else None,
        Audio(audio) if audio else None,
        Video(video) if video else None,
    ]
    queries = [each for each in given if each is not None]
    if len(queries) != 1:
        raise UsageError(f"{len(queries)} queries: give one of QUERY, --image, --audio, --video")
    if query is not None and not query.strip():
        raise UsageError("the query is empty")
    check_index(folder, index_file, bundle)
    model = load_model(console, bundle, execution, trust)
    hits = nearest(folder, queries[0], model, count, kind, file=index_file, trim=trim)
    results = [
        {"path": str(hit.path), "kind": hit.kind, "cosine": round(hit.cosine, 6)} for hit in hits
    ]
    lines = [f"{hit.cosine:.4f}  {hit.kind:<5}  {hit.path}" for hit in hits]
    console.result({"results": results}, "\n".join(lines))


def check_index(folder: Path, index_file: Path | None, bundle: Path) -> None:
    """InputError, before the model is loaded, where there is no index of it."""
    from nextomni_edge.api.opening import identity
    from nextomni_edge.search import INDEX_NAME
    from nextomni_edge.search.table import load_index

    load_index(index_file or folder / INDEX_NAME, identity(bundle))
