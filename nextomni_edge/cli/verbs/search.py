"""`search`: index a folder of mixed media, and find in it by a text, a picture, a sound or a
video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.console import Command, Console, common_options
from nextomni_edge.cli.generation import MODALITIES
from nextomni_edge.cli.model import identity, open_model, runtime_options
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.chat import Kind, Part


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
        type=click.Path(path_type=Path),
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
@common_options
def index(
    console: Console, folder: Path, bundle: Path, index_file: Path | None, execution: Execution
) -> None:
    """Embed every text, picture, sound and video under FOLDER; a second run embeds what is new
    alone.

    Sounds longer than the model takes are embedded by their beginning. Hidden files and links are
    left out.
    """
    from nextomni_edge.outputs import refuse_overlap
    from nextomni_edge.search import INDEX_NAME, update_index

    path = index_file or folder / INDEX_NAME
    refuse_overlap(path, [bundle])
    model = open_model(console, bundle, execution)
    with console.progress("index") as advance:
        report = update_index(folder, path, model, identity(bundle), advance)
    for _, reason in report.skipped:
        console.warn(f"skipped {reason}")
    result = {
        "index": str(path),
        "embedded": report.embedded,
        "kept": report.kept,
        "removed": report.removed,
    }
    result["skipped"] = [{"path": name, "reason": reason} for name, reason in report.skipped]
    counts = (
        f"{report.embedded} embedded, {report.kept} kept, {report.removed} removed,"
        f" {len(report.skipped)} skipped"
    )
    console.result(result, f"{path}: {counts}")


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
) -> None:
    """The files nearest to QUERY, or to a picture, a sound or a video, by cosine, best first."""
    from nextomni_edge.search import INDEX_NAME, embed_part, load_index

    given: list[tuple[Kind, str | Path | None]] = [
        ("text", query),
        ("image", image),
        ("audio", audio),
        ("video", video),
    ]
    queries = [(name, value) for name, value in given if value is not None]
    if len(queries) != 1:
        raise UsageError(f"{len(queries)} queries: give one of QUERY, --image, --audio, --video")
    found = load_index(index_file or folder / INDEX_NAME, identity(bundle))
    model = open_model(console, bundle, execution)
    hits = found.search(embed_part(model, query_part(model, *queries[0], trim)), count, kind)
    results = [
        {"path": str(folder / entry.path), "kind": entry.kind, "cosine": round(cosine, 6)}
        for entry, cosine in hits
    ]
    lines = [f"{cosine:.4f}  {entry.kind:<5}  {folder / entry.path}" for entry, cosine in hits]
    console.result({"results": results}, "\n".join(lines))


def query_part(model: EdgeModel, kind: Kind, value: str | Path, trim: bool) -> Part:
    """The query as a part."""
    from nextomni_edge.media.parts import file_part, text_part

    if isinstance(value, Path):
        return file_part(model, kind, value, trim)
    if not value.strip():
        raise UsageError("the query is empty")
    return text_part(value)
