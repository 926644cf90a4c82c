"""`compile`: engines of a bundle, on the device that runs them or ahead of time for its kind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from nextomni_edge.cli import numbers
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import OUTPUT, Console, common_options
from nextomni_edge.extras import needs_extra

if TYPE_CHECKING:
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.runtimes.tensorrt.build import Asked
    from nextomni_edge.runtimes.tensorrt.engines import Engine


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option(
    "--capability",
    metavar="smNN",
    help="The kind of GPU to build for. The default is the one in this machine.",
)
@click.option(
    "--compute",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Arithmetic of matrix products. Norms and sums stay in float32.",
)
@click.option(
    "--max-batch",
    type=numbers.COUNT,
    default=8,
    show_default=True,
    help="The most sequences at once, those of guidance included.",
)
@click.option(
    "--max-rows",
    type=numbers.COUNT,
    help="The most positions of a sequence. The default is the model's limit.",
)
@click.option("--components", metavar="NAME,...", help="Build only these components.")
@click.option(
    "--cache",
    type=OUTPUT,
    metavar="DIR",
    help="Folder for the engines. The default is BUNDLE.engines.",
)
@common_options
def compile(  # noqa: A001  (the verb's name)
    console: Console,
    bundle: Path,
    capability: str | None,
    compute: Literal["float32", "bfloat16", "float16"],
    max_batch: int,
    max_rows: int | None,
    components: str | None,
    cache: Path | None,
) -> None:
    """Build TensorRT engines from BUNDLE's graphs. An engine runs only with this version of the
    library, and only on the kind of GPU that it was built for."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.runtimes.tensorrt.build import Asked
    from nextomni_edge.runtimes.tensorrt.engine import engines_beside
    from nextomni_edge.runtimes.tensorrt.profile import Limits
    from nextomni_edge.runtimes.tensorrt.runtime import this_capability

    opened = Bundle.open(bundle)
    asked = Asked(
        capability or this_capability(),
        compute,
        Limits(max_batch, max_rows),
        cache or engines_beside(bundle),
    )
    chosen = [name.strip() for name in components.split(",")] if components else None
    engines = compiled(console, opened, asked, chosen)
    console.result(as_json(engines, asked), as_text(engines, asked))


def compiled(
    console: Console, bundle: Bundle, asked: Asked, components: list[str] | None
) -> dict[str, Engine]:
    """The engines, with progress shown."""
    from nextomni_edge.runtimes.tensorrt.engines import compile_bundle
    from nextomni_edge.runtimes.tensorrt.network import lacks_attention
    from nextomni_edge.runtimes.tensorrt.runtime import library

    trt = library()
    if plain := lacks_attention(trt):
        console.note(
            f"{trt.__name__} {trt.__version__} does not read Attention, 10.14 is the first that"
            " does: graphs are written out in opset 20"
        )
    with console.progress("compile") as advance, readable(bundle, plain) as form:
        return compile_bundle(
            bundle,
            asked,
            components,
            form,
            lambda task, share: advance(round(100 * share), 100, task),
            lambda needed: say_memory(console, needed),
        )


def say_memory(console: Console, needed: int) -> None:
    """What the largest build needs, before it begins; a warning where less is free."""
    from nextomni_edge.runtimes.machine import free_memory

    free = free_memory()
    said = f"the largest engine takes about {needed / 1e9:.1f} GB of memory while it is built"
    if free is None or needed <= free:
        console.note(said)
    else:
        console.warn(f"{said}, and {free / 1e9:.1f} GB are free: stop other programs or add swap")


@contextlib.contextmanager
def readable(bundle: Bundle, plain: bool) -> Iterator[Callable[[str], Path]]:
    """component → a graph that TensorRT can read: the bundle's own, or a form of it that lives as
    long as the block. `plain`: in the operators of opset 20."""
    with contextlib.ExitStack() as stack:

        def form(component: str) -> Path:
            if not (plain or bundle.manifest.components[component].quantisation):
                return bundle.component_file(component)
            with needs_extra("quantize", "onnx_ir"):
                from nextomni_edge.bundle.onnx_graph import folder_next_to
                from nextomni_edge.runtimes.tensorrt.qdq import qdq_form
            return qdq_form(bundle, component, stack.enter_context(folder_next_to(bundle)), plain)

        yield form


def as_json(engines: dict[str, Engine], asked: Asked) -> dict[str, Any]:
    """What was built, as JSON data."""
    return {
        "folder": str(asked.folder),
        "capability": asked.capability,
        "compute": asked.compute,
        "executed": False,
        "engines": {
            name: {
                "file": engine.file.name,
                "bytes": engine.bytes,
                "built": engine.built,
                **engine.description.to_json(),
            }
            for name, engine in engines.items()
        },
    }


def products(engine: Engine) -> str:
    """Such as `products reading FP8 20, Float 10; `."""
    found = ", ".join(
        f"{dtype} {count}" for dtype, count in engine.description.products_by_dtype.items()
    )
    return f"products reading {found}; " if found else ""


def as_text(engines: dict[str, Engine], asked: Asked) -> str:
    """A line per engine."""
    lines = [
        f"{name:<14} {sum(engine.description.layers.values()):>5} layers {engine.bytes:>14,} bytes "
        f" {products(engine)}{'built' if engine.built else 'was there'}: {engine.file.name}"
        for name, engine in engines.items()
    ]
    return "\n".join(
        [
            *lines,
            (
                f"{len(engines)} engines for {asked.capability} in {asked.compute}, built, not"
                f" executed: {asked.folder}"
            ),
        ]
    )
