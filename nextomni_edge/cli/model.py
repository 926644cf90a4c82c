"""Opening what a command is pointed at: a bundle, or a model directory for the torch reference."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from nextomni_edge.cli.console import Command, Console
from nextomni_edge.errors import InputError, UsageError

if TYPE_CHECKING:
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.runtimes.base import Execution


def runtime_options(command: Command) -> Command:
    """--runtime, --provider, --compute, --cache and --allow-fallback, which reach the command as
    one `execution`."""
    options = [
        click.option(
            "--runtime",
            metavar="NAME",
            help=(
                "Runtime to use. By default that of the bundle's format, or the one that `bench"
                " --choose` measured to be the fastest here."
            ),
        ),
        click.option(
            "--provider",
            metavar="NAME",
            help="Execution provider of the runtime. It is an error where another one runs.",
        ),
        click.option(
            "--compute",
            type=click.Choice(["float32", "bfloat16", "float16"]),
            default="float32",
            show_default=True,
            help="Arithmetic, where the runtime has a choice. All but float32 approximate.",
        ),
        click.option(
            "--cache",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder for compiled models, where the runtime compiles.",
        ),
        click.option(
            "--allow-fallback",
            is_flag=True,
            help="Run on the processor where the provider is not available.",
        ),
    ]

    def with_execution(*arguments: Any, **given: Any) -> Any:
        from nextomni_edge.runtimes.base import Execution

        names = ("runtime", "provider", "compute", "cache", "allow_fallback")
        return command(
            *arguments, execution=Execution(**{name: given.pop(name) for name in names}), **given
        )

    functools.update_wrapper(with_execution, command)
    wrapped = cast("Command", with_execution)
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def choose_runtime(console: Console, path: Path, execution: Execution) -> Execution:
    """How to run what is at `path`: `runtimes.choice.choose` decides for a bundle, and a note says
    where it takes another runtime than the default of the bundle's format.

    InputError: neither a bundle nor a model directory.
    """
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.runtimes.choice import choose

    if not is_bundle(path):
        return execution
    choice = choose(Bundle.open(path, verify_hashes=False), execution)
    if choice.reason:
        console.note(
            f"{path} runs on {choice.execution.runtime}: {choice.reason}; --runtime names another"
        )
    return choice.execution


def open_model(console: Console, path: Path, execution: Execution) -> EdgeModel:
    """The model at `path`, checked whole.

    InputError: neither a bundle nor a model directory, or not as it must be.
    """
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.runtimes.base import Execution

    if is_bundle(path):
        console.note(f"checking and loading {path}", level=1)
        return EdgeModel.from_bundle(Bundle.open(path), execution)
    if replace(execution, runtime=None) != Execution() or execution.runtime not in (None, "torch"):
        raise UsageError(
            f"{path} is a model directory, which only torch runs; export it first, or leave"
            " --runtime, --provider, --compute, --cache and --allow-fallback out"
        )
    console.note(f"loading {path} as the torch reference", level=1)
    return EdgeModel.from_checkpoint(path)


def is_bundle(path: Path) -> bool:
    """True for a bundle, False for a model directory. InputError: neither."""
    if not path.exists():
        raise InputError(
            f"{path}: no such directory; expected a bundle, as `nextomni-edge export` writes it"
        )
    if (path / "manifest.json").is_file():
        return True
    if (path / "config.json").is_file():
        return False
    several = path.is_file() or (path / "variants.json").exists()
    hint = (
        "; `run --variant` and `chat --variant` choose among measured variants" if several else ""
    )
    raise InputError(
        f"{path}: neither a bundle (manifest.json) nor a model directory (config.json){hint}"
    )


def identity(path: Path) -> str:
    """SHA-256 that names the model: a bundle's identity, or of a model directory's files."""
    from nextomni_edge.bundle import bundle_identity
    from nextomni_edge.checkpoints.directory import Checkpoint

    if is_bundle(path):
        return bundle_identity(path)
    digests = Checkpoint.open(path).sha256()
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
