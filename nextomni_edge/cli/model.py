"""Opening what a command is pointed at: a bundle, or a model directory for the torch reference."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.console import Command, Console
from nextomni_edge.cli.headings import under
from nextomni_edge.threads import environment_threads

if TYPE_CHECKING:
    from nextomni_edge.api.model import Model
    from nextomni_edge.bundle.digests import Hashes
    from nextomni_edge.bundle.trust import Trust
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.runtimes.base import Execution


where_it_runs = under("Where it runs")
RUNTIME_OPTIONS: Final = (
    where_it_runs(
        "--runtime",
        metavar="NAME",
        help=(
            "Runtime to use. By default that of the bundle's format, or the one that `bench"
            " --choose` measured to be the fastest here."
        ),
    ),
    where_it_runs(
        "--provider",
        metavar="NAME",
        help=(
            "Execution provider of the runtime, or cuda or cpu. It is an error where another one"
            " runs."
        ),
    ),
    where_it_runs(
        "--compute",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        default="float32",
        show_default=True,
        help="Arithmetic, where the runtime has a choice. All but float32 approximate.",
    ),
    where_it_runs(
        "--cache",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder for compiled models and packed weights, where the runtime makes them.",
    ),
    where_it_runs(
        "--allow-fallback",
        is_flag=True,
        help="Run on the processor where the provider is not available.",
    ),
)
DEVICE_OPTION: Final = where_it_runs(
    "--device",
    type=click.Choice(["auto", "cuda", "cpu"]),
    default="auto",
    show_default=True,
    help="The same of every runtime. auto takes the GPU where the runtime computes on it.",
)


def runtime_options(command: Command) -> Command:
    """`provider_options`, and --device, which stands for a provider."""
    return DEVICE_OPTION(provider_options(command))


def provider_options(command: Command) -> Command:
    """--runtime, --provider, --compute, --cache and --allow-fallback, which reach the command as
    one `execution`, and --threads."""

    def with_execution(*arguments: Any, **given: Any) -> Any:
        from nextomni_edge.runtimes.base import Execution

        names = ("runtime", "provider", "compute", "cache", "allow_fallback")
        if (device := given.pop("device", "auto")) != "auto":
            if given["provider"] is not None:
                raise click.UsageError("--device and --provider: give one of them")
            given["provider"] = device
        return command(
            *arguments, execution=Execution(**{name: given.pop(name) for name in names}), **given
        )

    functools.update_wrapper(with_execution, command)
    wrapped = cast("Command", with_execution)
    for option in reversed(RUNTIME_OPTIONS):
        wrapped = option(wrapped)
    return threads_option(wrapped)


def threads_option(command: Command) -> Command:
    """--threads: in the command, this process and those that it starts compute with so many."""

    def with_threads(*arguments: Any, threads: int | None, **given: Any) -> Any:
        if threads is None:
            return command(*arguments, **given)
        with environment_threads(threads):
            return command(*arguments, **given)

    functools.update_wrapper(with_threads, command)
    described = "Threads of the processor; by default OMP_NUM_THREADS, or one for each core."
    option = where_it_runs("--threads", type=numbers.THREADS, help=described)
    return option(cast("Command", with_threads))


def choose_runtime(console: Console, path: Path, execution: Execution) -> Execution:
    """How to run what is at `path`: `runtimes.choice.choose` decides for a bundle, and a note says
    where it takes another runtime than the default of the bundle's format.

    InputError: neither a bundle nor a model directory.
    """
    from nextomni_edge.api.opening import chosen

    choice = chosen(path, execution)
    if choice.reason:
        console.note(
            f"{path} runs on {choice.execution.runtime}: {choice.reason}; --runtime names another"
        )
    if choice.gpu:
        console.note(choice.gpu)
    return choice.execution


def trust_options(command: Command) -> Command:
    """--verify-hashes and --verify-key, which reach the command as one `trust`."""
    trusted = under("What is trusted")
    options = [
        trusted(
            "--verify-hashes",
            type=click.Choice(["always", "once"]),
            default="always",
            show_default=True,
            help=(
                "Read and hash every byte of BUNDLE at each start, or only what changed since it"
                " was last hashed."
            ),
        ),
        trusted(
            "--verify-key",
            type=click.Path(path_type=Path),
            metavar="PUBLIC_KEY",
            help="Refuse a BUNDLE that the private key of this one has not signed.",
        ),
    ]

    def with_trust(
        *arguments: Any, verify_hashes: Hashes, verify_key: Path | None, **given: Any
    ) -> Any:
        from nextomni_edge.bundle.trust import Trust

        return command(*arguments, trust=Trust(verify_hashes, verify_key), **given)

    functools.update_wrapper(with_trust, command)
    wrapped = cast("Command", with_trust)
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def load_model(
    console: Console, path: Path, execution: Execution, trust: Trust | None = None
) -> Model:
    """The model at `path`, run exactly as `execution` says. Errors as `nextomni_edge.load`'s."""
    from nextomni_edge.api.model import Model
    from nextomni_edge.api.opening import DEFAULT, is_bundle

    doing = "checking and loading" if is_bundle(path) else "loading the torch reference of"
    console.note(f"{doing} {path}", level=1)
    return Model.open(path, execution, trust or DEFAULT)


def open_model(console: Console, path: Path, execution: Execution) -> EdgeModel:
    """What `load_model`'s model is made of."""
    return load_model(console, path, execution).edge
