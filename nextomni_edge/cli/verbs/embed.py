"""`embed`: the embeddings of texts and media files, one row each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.cli.model import load_model, runtime_options, trust_options
from nextomni_edge.cli.streams import argument_text
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nextomni_edge.bundle.trust import Trust
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.chat import Kind


@dataclass(frozen=True)
class Item:
    """One thing to embed: `source` is a file's path, or the text itself."""

    kind: Kind
    source: str


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--text", multiple=True, help="A text to embed; texts come after the files.")
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    help="safetensors file: embeddings (N,H), items in its header.",
)
@click.option("--trim", is_flag=True, help="Keep the first chunk of a long sound.")
@runtime_options
@trust_options
@common_options
def embed(
    console: Console,
    bundle: Path,
    files: tuple[Path, ...],
    text: tuple[str, ...],
    output: Path | None,
    trim: bool,
    execution: Execution,
    trust: Trust,
) -> None:
    """Embed FILES (their suffix tells the modality) and texts: L2-normalised, comparable across
    modalities.

    Prints one line per item: its name, a tab, and the numbers.
    """
    from nextomni_edge.api.output import check_place
    from nextomni_edge.search.update import file_kind

    if not files and not text:
        raise UsageError("nothing to embed: give files or --text")
    if output:
        check_place(output)
    text = tuple(argument_text(value, "--text") for value in text)
    model = load_model(console, bundle, execution, trust)
    items = [Item(file_kind(path), str(path)) for path in files] + [
        Item("text", value) for value in text
    ]
    with console.progress("embed") as advance:
        rows = model.embed([*files, *text], trim=trim, progress=advance)
    if output:
        write(output, items, rows)
        data = {
            "file": str(output),
            "items": [asdict(item) for item in items],
            "size": len(rows[0]),
        }
        console.result(data, str(output))
    else:
        shown = [
            asdict(item) | {"embedding": row.tolist()}
            for item, row in zip(items, rows, strict=True)
        ]
        lines = (
            item.source + "\t" + " ".join(f"{value:.6g}" for value in row)
            for item, row in zip(items, rows, strict=True)
        )
        console.result({"items": shown}, "\n".join(lines))


def write(path: Path, items: list[Item], rows: NDArray[np.float32]) -> None:
    """Write `embeddings` (N,H) float32, and the items as JSON in the header, in one step."""
    from safetensors.numpy import save

    from nextomni_edge.files import atomic_write

    with atomic_write(path) as file:
        file.write(
            save(
                {"embeddings": rows},
                metadata={"items": json.dumps([asdict(item) for item in items])},
            )
        )
