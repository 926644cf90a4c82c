"""`serve`: bundles over HTTP, to clients of OpenAI's interface and to a browser."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.headings import HeadedCommand, under
from nextomni_edge.cli.model import choose_runtime, load_model, runtime_options, trust_options
from nextomni_edge.cli.numbers import Real, Whole
from nextomni_edge.cli.streams import stderr
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.regular import read_regular

if TYPE_CHECKING:
    from nextomni_edge.bundle.trust import Trust
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.serve.limits import Limits
    from nextomni_edge.serve.models import Served

KEY_VARIABLE = "NEXTOMNI_EDGE_API_KEY"
SHORTEST_KEY, MAX_KEY = 16, 4096
access, limit = under("Who may ask"), under("Limits")
MIB = 1 << 20


@click.command(cls=HeadedCommand)
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@access("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@access("--port", type=Whole(0, 65535), default=8000, show_default=True, help="0: any free one.")
@access(
    "--api-key",
    metavar="KEY|@FILE",
    help=f"What every request must present; @FILE reads it. Or set {KEY_VARIABLE}.",
)
@access("--no-auth", is_flag=True, help="Serve other machines without a key.")
@access("--cors", multiple=True, metavar="ORIGIN", help="A page's origin that may ask; repeatable.")
@limit("--max-body", type=Real(0.001, 4096, "MiB"), default=32, show_default=True, help="MiB.")
@limit(
    "--max-media",
    type=Real(0.001, 4096, "MiB"),
    default=16,
    show_default=True,
    help="MiB of one medium.",
)
@limit("--max-steps", type=Whole(1, 100_000), default=512, show_default=True, help="Of a flow.")
@limit(
    "--max-tokens",
    type=Whole(1, 2**20),
    default=4096,
    show_default=True,
    help="Tokens, or a picture's side, that may be asked for.",
)
@limit("--max-answers", type=Whole(1, 64), default=4, show_default=True, help="Of one request.")
@limit("--queue", type=Whole(1, 100_000), default=64, show_default=True, help="Answers that wait.")
@limit(
    "--batch",
    type=Whole(1, 16),
    default=8,
    show_default=True,
    help="Answers that are computed together.",
)
@limit("--connections", type=Whole(1, 100_000), default=256, show_default=True, help="At once.")
@limit(
    "--timeout",
    type=Real(0.1, 86_400, "seconds"),
    default=300,
    show_default=True,
    help="Seconds of a request.",
)
@limit(
    "--grace",
    type=Real(0, 3600, "seconds"),
    default=20,
    show_default=True,
    help="Seconds to finish in after SIGTERM.",
)
@click.option(
    "--voices",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Voices that speech may name: clips NAME.wav, and what each says in NAME.txt.",
)
@click.option("--check", is_flag=True, help="Load all, say what would be served, and end.")
@trust_options
@runtime_options
@common_options
def serve(
    console: Console,
    bundles: tuple[str, ...],
    voices: Path | None,
    check: bool,
    trust: Trust,
    execution: Execution,
    **given: Any,
) -> None:
    """Serve each BUNDLE (or NAME=BUNDLE) to clients of OpenAI's interface, and a page to play with
    at the address itself.

    Listens on this machine only, unless --host says otherwise. A key is then required. The log goes
    to stderr, a JSON object a line.
    """
    from nextomni_edge.extras import needs_extra

    with needs_extra("serve", "fastapi", "uvicorn", "prometheus_client", "multipart"):
        from nextomni_edge.serve import server
        from nextomni_edge.serve.guard import LOOPBACK, Access
        from nextomni_edge.serve.record import log_lines
        from nextomni_edge.serve.voices import read_voices

    loopback = given["host"] in LOOPBACK
    key = read_key(given["api_key"])
    if key is None and not loopback and not given["no_auth"]:
        raise UsageError(
            f"--host {given['host']} is open to other machines: give --api-key, or say --no-auth"
        )
    clips = read_voices(voices)
    served = opened(console, bundles, execution, trust)
    service = server.service_over(served, limits_of(given), clips)
    if check:
        console.result({"models": [each.name for each in served]}, f"fine: {names(served)}")
        return
    log_lines(
        (logging.WARNING, logging.INFO, logging.DEBUG)[min(console.verbosity, 1) + 1], stderr()
    )
    running = server.server_of(service, Access(key, given["cors"], loopback))
    with server.listening(given["host"], given["port"]) as listener:
        address = f"http://{given['host']}:{listener.getsockname()[1]}"
        console.result({"address": address}, f"serving {names(served)} at {address}")
        server.run(running, listener)


def opened(
    console: Console, bundles: tuple[str, ...], execution: Execution, trust: Trust
) -> list[Served]:
    """The models under their names, loaded whole and checked."""
    from nextomni_edge.serve.models import Served, name_and_path

    pairs = [name_and_path(word) for word in bundles]
    return [
        Served(name, load_model(console, path, choose_runtime(console, path, execution), trust))
        for name, path in pairs
    ]


def names(served: list[Served]) -> str:
    return ", ".join(each.name for each in served)


def read_key(word: str | None) -> str | None:
    """The key that was given, or that stands in a file or in the environment. InputError: no file.
    UsageError: too short to be a secret."""
    word = word if word is not None else os.environ.get(KEY_VARIABLE)
    if word is None:
        return None
    if word.startswith("@"):
        try:
            word = read_regular(Path(word[1:]), MAX_KEY).decode("utf-8").strip()
        except (InputError, ValueError) as error:
            raise InputError(f"{word[1:]}: no key can be read ({error})") from error
    if len(word) < SHORTEST_KEY or not word.isascii() or not word.isprintable():
        raise UsageError(f"the key: expected {SHORTEST_KEY} or more printable ASCII characters")
    return word


def limits_of(given: dict[str, Any]) -> Limits:
    """The options as the server's limits."""
    from nextomni_edge.serve.limits import Limits

    return Limits(
        body=int(given["max_body"] * MIB),
        media=int(given["max_media"] * MIB),
        answers=given["max_answers"],
        steps=given["max_steps"],
        tokens=given["max_tokens"],
        queue=given["queue"],
        batch=given["batch"],
        connections=given["connections"],
        request=given["timeout"],
        grace=given["grace"],
    )
