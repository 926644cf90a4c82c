"""`import`: a published checkpoint becomes a model directory that refers to its files."""

from __future__ import annotations

from pathlib import Path

import click

from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.errors import UsageError
from nextomni_edge.extras import needs_extra
from nextomni_edge.files import check_output


@click.command(name="import")
@click.argument("source")
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    required=True,
    help="The model directory to write.",
)
@click.option(
    "--layout",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="fudoki, llada, dream, omnidiffusion, qwen2, llama, clip, siglip, whisper, native.",
)
@click.option(
    "--copy",
    is_flag=True,
    help="Copy the files that are used; without it the model refers to them where they are.",
)
@click.option(
    "--image-tokenizer",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help=(
        "Of MMaDA, Lumina-DiMOO or Omni-Diffusion, where it is published apart; vqvae and magvitv2"
        " are found."
    ),
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="NAME=FOLDER",
    help=(
        "Of Omni-Diffusion, where they are published apart: image_tokenizer, sensevoice,"
        " speech_tokenizer, speech_decoder."
    ),
)
@click.option("--revision", metavar="COMMIT", help="Of a hub id, the 40 hex digits of a commit.")
@click.option(
    "--overwrite", is_flag=True, help="Replace a directory; it stays whole until the new one is."
)
@common_options
def import_(
    console: Console,
    source: str,
    output: Path,
    layout: str,
    copy: bool,
    image_tokenizer: Path | None,
    parts: tuple[str, ...],
    revision: str | None,
    overwrite: bool,
) -> None:
    """Import SOURCE, a published checkpoint's folder (or a hub id), to a model directory.

    Nothing is loaded and no code of SOURCE is run: the directory holds a config, and the names of
    SOURCE's tensors with the digests of its files. The layouts qwen2, llama, clip, siglip and
    whisper make a part of a model, for `train --init`.
    """
    check_output(output, overwrite)
    with needs_extra("train", "torch"):
        from nextomni_edge.models.networks import expected_shapes
    from nextomni_edge.checkpoints.hub import REPOSITORY, fetch
    from nextomni_edge.checkpoints.importing import import_model

    folder = Path(source)
    if not folder.exists() and REPOSITORY.fullmatch(source) and not source.startswith("."):
        console.note(f"fetching {source} at {revision}", level=1)
        folder = fetch(source, revision)
    report = import_model(
        folder, output, expected_shapes, layout, copy, overwrite, image_tokenizer,
        dict(named_part(given) for given in parts),
    )  # fmt: skip
    lines = [
        f"{report.tensors} tensors, {report.parameters:,} parameters, layout {report.layout}",
        f"{report.referenced:,} bytes referred to in {folder}, {report.copied:,} in {output}",
        *(f"not used: {count} {what}" for what, count in reasons(report.unused).items()),
    ]
    console.result({**vars(report), "out": str(output)}, "\n".join(lines))


def named_part(text: str) -> tuple[str, Path]:
    """(name, folder) out of NAME=FOLDER. UsageError: not such a text."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UsageError(f"--part {text[:60]!r}: expected a name and a folder, NAME=FOLDER")
    return name, Path(folder)


def reasons(unused: dict[str, str]) -> dict[str, int]:
    """Each reason with the number of tensors that it holds for; `--json` lists them by name."""
    found: dict[str, int] = {}
    for name, reason in unused.items():
        line = f"{'file' if name.endswith('.pt') else 'tensors'} ({reason})"
        found[line] = found.get(line, 0) + 1
    return found
