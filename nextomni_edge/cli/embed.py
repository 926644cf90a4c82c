"""`embed`: the embeddings of texts and media files, one row each."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.model import open_model, runtime_options
from nextomni_edge.errors import UsageError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--text", multiple=True, help="A text to embed; texts come after the files.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="safetensors file: embeddings (N,H), items in its header.")
@click.option("--trim", is_flag=True, help="Cut sounds that are longer than the model takes.")
@runtime_options
@common_options
def embed(
    console: Console,
    bundle: Path,
    files: tuple[Path, ...],
    text: tuple[str, ...],
    output: Path | None,
    trim: bool,
    runtime: str | None,
    provider: str | None,
) -> None:
    """Embed FILES (their suffix tells the modality) and texts: L2-normalised, comparable across modalities.

    Prints one line per item: its name, a tab, and the numbers.
    """
    import numpy as np

    from nextomni_edge.cli.answer import check_output
    from nextomni_edge.files import atomic_write
    from nextomni_edge.media.parts import file_part, text_part
    from nextomni_edge.retrieval import embed_part, file_kind

    if not files and not text:
        raise UsageError("nothing to embed: give files or --text")
    if output:
        check_output("text", output)
    model = open_model(console, bundle, runtime, provider)
    kinds = [file_kind(path) for path in files]
    items = [{"kind": kind, "source": str(path)} for kind, path in zip(kinds, files, strict=True)]
    items += [{"kind": "text", "source": value} for value in text]
    rows = []
    with console.progress("embed") as advance:
        for index, item in enumerate(items):
            advance(index, len(items), item["source"])
            kind = kinds[index] if index < len(files) else "text"
            part = file_part(model, kind, files[index], trim) if index < len(files) else text_part(item["source"])
            rows.append(embed_part(model, part))
        advance(len(items), len(items), "")
    embeddings = np.stack(rows).astype(np.float32)
    if output:
        from safetensors.numpy import save

        with atomic_write(output) as file:
            file.write(save({"embeddings": embeddings}, metadata={"items": json.dumps(items)}))
        console.result({"file": str(output), "items": items, "size": embeddings.shape[1]}, str(output))
        return
    lines = [item["source"] + "\t" + " ".join(f"{value:.6g}" for value in row) for item, row in zip(items, embeddings, strict=True)]
    shown = [item | {"embedding": [float(value) for value in row]} for item, row in zip(items, embeddings, strict=True)]
    console.result({"items": shown}, "\n".join(lines))
