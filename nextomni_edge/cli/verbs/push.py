"""`push`: a bundle on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.errors import UsageError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("to", metavar="hf:OWNER/NAME")
@click.option(
    "--licence",
    "--license",
    required=True,
    metavar="NAME",
    help="The licence of the weights, as the hub names it, such as apache-2.0.",
)
@click.option("--private", is_flag=True, help="A new repository is not public.")
@common_options
def push(console: Console, bundle: Path, to: str, licence: str, private: bool) -> None:
    """Push BUNDLE to a repository of the hub, with a model card that says what was checked.

    The hub's own library sends the files: HF_TOKEN, or `hf auth login`, says who you are.

    \b
    nextomni-edge push demo/bundle hf:me/emoji --licence apache-2.0
    nextomni-edge run hf:me/emoji --text "draw rocket, noto style" -o rocket.png
    """
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.hub.push import push as send
    from nextomni_edge.hub.reference import reference

    asked = reference(to)
    if asked is None:
        raise UsageError(f"{to!r}: expected a repository of the hub, hf:OWNER/NAME")
    done = send(Bundle.open(bundle), asked, licence, private)
    console.result(asdict(done), done.url)
