"""All engines of a bundle, built one after another into a folder. Existing ones are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.graph_content import graph_content
from nextomni_edge.errors import InputError, NextOmniError, UsageError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Compute
from nextomni_edge.runtimes.tensorrt.build import Asked, build, check_capability
from nextomni_edge.runtimes.tensorrt.engine import (
    Description,
    content_key,
    read_engine,
    write_engine,
)
from nextomni_edge.runtimes.tensorrt.profile import profile
from nextomni_edge.runtimes.tensorrt.runtime import here, identity_of, library
from nextomni_edge.spec import GraphSpec

# Most memory of a build, in bytes of the graph's weights: the library keeps them twice, and once
# more in the engine. Measured with TensorRT for RTX 1.7 on a backbone of 477 MB.
BUILD_MEMORY: Final = {"float32": 3.5, "bfloat16": 2.5, "float16": 2.5}

Progress = Callable[[str, float], None]
# component → the graph to hand to the library, of the same meaning as the bundle's
Form = Callable[[str], Path]


@dataclass(frozen=True)
class Engine:
    """One engine of the folder. `built` False: it existed before."""

    file: Path
    bytes: int
    built: bool
    description: Description


def compile_bundle(
    bundle: Bundle,
    asked: Asked,
    components: Collection[str] | None,
    form: Form,
    progress: Progress,
    needs: Callable[[int], None] = lambda _: None,
) -> dict[str, Engine]:
    """Engines of a bundle's components by name; None means all. An existing engine for the same
    graph, library, capability, arithmetic and shapes is kept. `needs` is called with
    `memory_needed` before the first is built.

    UsageError: the bundle lacks a component, or the library a capability. InputError: the library
    cannot read a graph.
    """
    for name in components or ():
        if name not in bundle.manifest.components:
            raise UsageError(
                f"component {name!r}: expected one of {', '.join(bundle.manifest.components)}"
            )
    chosen = [
        name for name in bundle.manifest.components if components is None or name in components
    ]
    for name in chosen:
        record = bundle.manifest.components[name]
        if "tensorrt" not in record.stored_as.runtimes:
            raise InputError(
                f"{bundle.path}: {name} is {record.format}, TensorRT compiles ONNX graphs; export"
                " with --target onnx"
            )
    check_capability(asked, here(), has_float8(bundle, chosen))
    needs(memory_needed(bundle, chosen, asked.compute))
    asked.folder.mkdir(parents=True, exist_ok=True)
    engines: dict[str, Engine] = {}
    for index, name in enumerate(chosen):
        progress(f"compile {name}", index / len(chosen))
        engines[name] = _there(bundle, name, asked) or _built(bundle, name, asked, form)
    progress("done", 1.0)
    return engines


def memory_needed(bundle: Bundle, components: Collection[str], compute: Compute) -> int:
    """About how many bytes of memory the largest build takes."""
    files = bundle.manifest.files
    return max(
        int(BUILD_MEMORY[compute] * sum(files[own].size for own in bundle.component_weights(name)))
        for name in components
    )


def has_float8(bundle: Bundle, components: Collection[str]) -> bool:
    """Whether a layer of these components computes in FP8."""
    return any(
        decision.scheme == "float8"
        for name in components
        for decision in bundle.manifest.components[name].quantisation.values()
    )


def _there(bundle: Bundle, component: str, asked: Asked) -> Engine | None:
    """The folder's engine, if it is whole and has the same shapes."""
    identity = identity_of(
        library(), content_key(graph_content(bundle.component_file(component))), asked.capability,
        asked.compute
    )  # fmt: skip
    file = asked.folder / identity.file(component)
    try:
        description, _ = read_engine(file)
    except NextOmniError:
        return None
    fits = description.identity == identity and description.ranges == profile(
        _spec(bundle, component), asked.limits
    )
    return Engine(file, file.stat().st_size, False, description) if fits else None


def _built(bundle: Bundle, component: str, asked: Asked, form: Form) -> Engine:
    file = bundle.component_file(component)
    description, plan = build(component, file, _spec(bundle, component), asked, form(component))
    written = write_engine(asked.folder, description, plan)
    return Engine(written, written.stat().st_size, True, description)


def _spec(bundle: Bundle, component: str) -> GraphSpec:
    return graph_specs(bundle.config)[component]
