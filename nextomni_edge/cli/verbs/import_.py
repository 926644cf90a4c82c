"""`import`: a published checkpoint becomes a model directory that refers to its files."""

from __future__ import annotations

from pathlib import Path

import click

from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.errors import InputError, UsageError
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
    help=(
        "fudoki, llada, dream, omnidiffusion, omnivoice, qwen2, qwen3, llama, clip, siglip,"
        " whisper, native."
    ),
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
        " speech_tokenizer, speech_decoder. Of OmniVoice: audio_tokenizer."
    ),
)
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
    overwrite: bool,
) -> None:
    """Import SOURCE, a published checkpoint's folder, to a model directory.

    SOURCE may be a repository of the hub, hf:OWNER/NAME or hf:OWNER/NAME@REVISION. Its config,
    tokenizer and safetensors files are fetched to the hub library's cache, and the commit is
    recorded.

    Nothing is loaded and no code of SOURCE is run: the directory holds a config, and the names of
    SOURCE's tensors with the digests of its files. The layouts qwen2, qwen3, llama, clip, siglip
    and whisper make a part of a model, for `train --init`.
    """
    check_output(output, overwrite)
    with needs_extra("train", "torch"):
        from nextomni_edge.models.networks import expected_shapes
    from nextomni_edge.checkpoints.importing import import_model

    folder, origin = fetched(console, source)
    report = import_model(
        folder, output, expected_shapes, layout, copy, overwrite, image_tokenizer, origin,
        dict(named_part(given) for given in parts),
    )  # fmt: skip
    lines = [
        f"{report.tensors} tensors, {report.parameters:,} parameters, layout {report.layout}",
        f"{report.referenced:,} bytes referred to in {folder}, {report.copied:,} in {output}",
        *(f"not used: {count} {what}" for what, count in reasons(report.unused).items()),
    ]
    console.result({**vars(report), "out": str(output), "hub": origin}, "\n".join(lines))


def fetched(console: Console, source: str) -> tuple[Path, str | None]:
    """The folder of a source, and the repository and commit that it was fetched from."""
    from nextomni_edge.hub.reference import PREFIX, REPOSITORY, Reference, reference

    asked = reference(source)
    if asked is None:
        if not Path(source).exists() and REPOSITORY.fullmatch(source):
            raise InputError(
                f"{source}: no such folder; a repository of the hub is named {PREFIX}{source}"
            )
        return Path(source), None
    from nextomni_edge.hub.download import checkpoint

    console.note(f"fetching {asked}", level=1)
    found = checkpoint(asked)
    return found.folder, str(Reference(asked.repository, found.commit))


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
