"""`sign`: a bundle's signature."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.errors import UsageError

PASSWORD: Final = "NEXTOMNI_EDGE_KEY_PASSWORD"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PRIVATE_KEY",
    help=f"A PEM file of an elliptic curve key. {PASSWORD} holds its password, if it has one.",
)
@click.option("--overwrite", is_flag=True, help="Replace the signature that is there.")
@common_options
def sign(console: Console, bundle: Path, key: Path, overwrite: bool) -> None:
    """Sign BUNDLE: model.sig, written into it, says who made it.

    Bundles are checked against a public key by `verify --key` and by the option --verify-key. The
    signature is that of OpenSSF's model signing, whose own tool reads it, too.

    \b
    openssl ecparam -name prime256v1 -genkey -noout -out private.pem
    openssl ec -in private.pem -pubout -out public.pem
    nextomni-edge sign demo/bundle --key private.pem
    """
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.bundle.reader import SIGNATURE
    from nextomni_edge.bundle.trust import sign as write_signature

    opened = Bundle.open(bundle)
    if (opened.path / SIGNATURE).exists() and not overwrite:
        raise UsageError(f"{opened.path / SIGNATURE} exists; pass --overwrite to replace it")
    out = write_signature(opened.path, key, os.environ.get(PASSWORD))
    console.result({"signature": str(out)}, str(out))
