"""Which of several measured bundles a request is to run on, and the runtime it was measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nextomni_edge.cli.console import Command, Console
from nextomni_edge.cli.headings import under
from nextomni_edge.cli.model import choose_runtime
from nextomni_edge.errors import UsageError

if TYPE_CHECKING:
    from nextomni_edge.api.settings import Request
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.media.parts import Encoder
    from nextomni_edge.runtimes.base import Execution
    from nextomni_edge.tokens.chat import Turn

WISHES: Final = ("fastest", "smallest")


def variant_option(command: Command) -> Command:
    """--variant, which reaches the command as `variant`."""
    described = "BUNDLE is what `bench --save` wrote: choose among its bundles."
    return under("Where it runs")("--variant", type=click.Choice(WISHES), help=described)(command)


def choose(
    console: Console,
    path: Path,
    wish: str | None,
    turns: Callable[[Encoder], list[Turn]],
    request: Request,
    execution: Execution,
) -> tuple[Path, Execution]:
    """The bundle to run, how, and on stderr why: `path` itself on the fastest runtime for it where
    there is no wish, else one of the bundles measured there, the fastest as it was measured.
    `turns` makes the request for whatever encodes its media.

    InputError: nothing was measured at `path`, or what was is not this machine, this way to run, or
    these bundles.
    """
    if wish is None:
        return path, choose_runtime(console, path, execution)
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.measure.variants import read_variants

    file, variants = read_variants(path)
    smallest = variants.smallest
    sizes = ", ".join(
        f"{variant.folder} {variant.bytes / 1e6:.1f} MB" for variant in variants.variants
    )
    if wish == "smallest":
        console.note(f"variant {smallest.folder}: the smallest of {sizes}")
        return file.parent / smallest.folder, choose_runtime(
            console, file.parent / smallest.folder, execution
        )
    variants.check_machine(execution, file)
    rows = computed_rows(
        Bundle.open(file.parent / smallest.folder, verify_hashes=False), turns, request
    )
    fastest = variants.fastest(rows)
    times = ", ".join(
        f"{variant.folder} on {variant.runtime} {variant.at(rows):.2f} ms"
        for variant in variants.variants
    )
    chosen = f"{fastest.folder} on {fastest.runtime}"
    console.note(
        f"variant {chosen}: the fastest at {rows} rows a forward, by what was measured: {times}"
    )
    return file.parent / fastest.folder, dataclasses.replace(execution, runtime=fastest.runtime)


def computed_rows(bundle: Bundle, turns: Callable[[Encoder], list[Turn]], request: Request) -> int:
    """Rows of each of the request's forwards but the first, in every branch of guidance: of the
    whole sequence, or with keys and values kept of the answer, which is the most that a cache
    computes again; where attention is "prefix", of everything but the prompt. An answer that may
    grow counts as it begins. UsageError: an autoregressive model."""
    from nextomni_edge.api.step import asked
    from nextomni_edge.generate.cache import NoCache, cache_policy
    from nextomni_edge.media.parts import Lengths
    from nextomni_edge.tokens.text import TextTokenizer

    if bundle.config.causal:
        raise UsageError(
            "this model is autoregressive: its forwards are of one row each; choose the smallest,"
            " or name a bundle"
        )
    tokenizer = TextTokenizer(bundle.tokenizer_path, bundle.config.text)
    sequence, options = asked(bundle.config, tokenizer, turns(Lengths(bundle.config)), request)
    prefix, rows = bundle.config.backbone.attention == "prefix", sequence.length
    if not isinstance(cache_policy(options, prefix), NoCache):
        answer = sum(len(sequence.segments[index]) for index in sequence.generated())
        rows = rows - sequence.prompt_length if prefix else answer
    return rows * (2 if options.guidance else 1)
