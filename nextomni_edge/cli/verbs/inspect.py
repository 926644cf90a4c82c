"""`inspect`: what a bundle holds, and how two bundles differ. No graph is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nextomni_edge.bundle.parity import parity_lines
from nextomni_edge.cli.bundle_path import BUNDLE
from nextomni_edge.cli.console import Console, common_options
from nextomni_edge.cli.verbs.difference import (
    bits_text,
    differences,
    flat,
    made_text,
    shown,
    summary,
    summary_lines,
)

if TYPE_CHECKING:
    from nextomni_edge.bundle import Bundle, Measured
    from nextomni_edge.spec import TensorSpec

T = TypeVar("T")


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option(
    "--diff",
    "other",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Sum up how another bundle differs: sizes, layers, settings; with -v every entry.",
)
@click.option(
    "--no-hashes", is_flag=True, help="Skip the check of the files' hashes, which reads every byte."
)
@common_options
def inspect(console: Console, bundle: Path, other: Path | None, no_hashes: bool) -> None:
    """Show what BUNDLE holds: components with their sizes, dtypes and dimensions, the libraries it
    was made with, and the parity that was measured; of a variant also what `report` measured. No
    graph is run."""
    from nextomni_edge.bundle import Bundle

    one = Bundle.open(bundle, verify_hashes=not no_hashes)
    if other is None:
        described = describe(one)
        console.result(
            described, "\n".join([as_text(described), *measured_text(one.manifest.measured)])
        )
        return
    two = Bundle.open(other, verify_hashes=not no_hashes)
    changes = list(differences(flat(one), flat(two)))
    data = [{"what": what, "left": left, "right": right} for what, left, right in changes]
    lines = list(summary_lines(one, two, changes)) if changes else ["no difference"]
    if console.verbosity > 0:
        lines += [f"{what}: {shown(left)} -> {shown(right)}" for what, left, right in changes]
    console.result(
        {
            "left": str(bundle),
            "right": str(other),
            "differences": data,
            "summary": summary(one, two, changes),
        },
        "\n".join(lines),
    )


def describe(bundle: Bundle) -> dict[str, Any]:
    """The bundle as JSON data."""
    from nextomni_edge.api.opening import identity

    manifest = bundle.manifest
    components = {}
    for name, record in manifest.components.items():
        weights = bundle.component_weights(name)
        components[name] = {
            "file": record.file,
            "format": record.format,
            "precision": record.precision,
            "layers": {
                weight: bits_text(decision) for weight, decision in record.quantisation.items()
            },
            "graph_bytes": manifest.files[record.index].size,
            "weight_bytes": sum(manifest.files[weight].size for weight in weights),
            "inputs": [dims_text(tensor) for tensor in bundle.spec(name).inputs],
            "outputs": [dims_text(tensor) for tensor in bundle.spec(name).outputs],
            **record.stored_as.description(bundle.component_file(name)),
        }
    return {
        "bundle": str(bundle.path),
        "identity": identity(bundle.path),
        "components": components,
        "files": {name: record.size for name, record in sorted(manifest.files.items())},
        "bytes": sum(record.size for record in manifest.files.values()),
        "golden": manifest.golden is not None,
        "parity": manifest.parity,
        "quantisation": (
            dataclasses.asdict(manifest.quantisation) if manifest.quantisation else None
        ),
        "measured": dataclasses.asdict(manifest.measured) if manifest.measured else None,
        "provenance": {
            "versions": manifest.provenance.versions,
            "source": manifest.provenance.source,
        },
        "config": manifest.config.to_json(),
    }


def dims_text(tensor: TensorSpec) -> str:
    """Such as `tokens int64 (batch, rows)`."""
    dims = ", ".join(str(dim) if isinstance(dim, int) else dim.name for dim in tensor.dims)
    return f"{tensor.name} {tensor.dtype} ({dims})"


def as_text(described: dict[str, Any]) -> str:
    """The description as a table."""
    width = max(map(len, described["components"]))
    lines = [
        f"{described['bundle']}  {described['bytes']:,} bytes in {len(described['files'])} files",
        "",
    ]
    for name, part in described["components"].items():
        sizes = f"{part['weight_bytes']:>14,} bytes of weights, graph {part['graph_bytes']:,}"
        lines.append(f"{name:<{width}}  {part['format']} {part['precision']}  {sizes}")
        operators = ", ".join(
            f"{sum(counts.values())} {gives}" for gives, counts in part["operators"].items()
        )
        lines += [f"{'':<{width}}    operators: {operators}"] if operators else []
        lines += [f"{'':<{width}}    {text}" for text in form_text(part["form"])]
        lines += [f"{'':<{width}}    {weight}: {bits}" for weight, bits in part["layers"].items()]
        lines += [
            f"{'':<{width}}    {arrow} {text}"
            for arrow, key in (("<-", "inputs"), ("->", "outputs"))
            for text in part[key]
        ]
    versions = ", ".join(
        f"{name} {version}" for name, version in described["provenance"]["versions"].items()
    )
    lines += [
        "",
        f"golden trace: {'yes' if described['golden'] else 'no'}",
        f"identity: {described['identity']}",
    ]
    lines += [f"exported with: {versions}"] if versions else []
    made = made_text(described["quantisation"])
    return "\n".join([*lines, *made, *parity_lines(described["parity"])])


def form_text(form: dict[str, Any]) -> Iterator[str]:
    """What a Core ML package takes and keeps, and what a GGUF file stores."""
    if "stored" in form:
        stored = ", ".join(f"{count} {kind}" for kind, count in form["stored"].items())
        yield f"tensors as stored: {stored}"
        return
    if form and form["rows"]:
        yield f"rows: {', '.join(map(str, form['rows']))}, others padded, one sequence at a time"
    if form and form["keeps"]:
        yield "keys and values: a state inside, float16"


def measured_text(measured: Measured | None) -> Iterator[str]:
    """What `report` found of a variant, in short; --json has all of it."""
    if measured is None:
        return
    variant, parent = measured.variant, measured.parent
    yield f"measured against {parent.name} ({parent.identity[:12]}), times on {measured.machine}:"
    yield f"  bytes: {variant.bytes:,}, of the parent {parent.bytes:,}"
    for modality, part in measured.agreement.items():
        yield (
            f"  {modality}: KL {part.kl} nats per draw, same argmax {part.same_argmax}, n"
            f" {part.kl.n}"
        )
    yield from (
        f"  same symbols, {task}: {found.same}, n {found.same.n}"
        for task, found in measured.tokens.items()
    )
    for rows, seconds in variant.forward_seconds.items():
        parents = beside(parent.forward_seconds, rows, lambda each: f"{1e3 * each:.2f} ms")
        yield f"  forward of {rows} rows: {1e3 * seconds:.2f} ms{parents}"
    for answer, found in variant.generation.items():
        peak = "" if found.peak_bytes is None else f", peak {found.peak_bytes / 2**20:.0f} MiB"
        yield (
            f"  {answer}: {found.seconds:.3f}"
            f" s{peak}{beside(parent.generation, answer, lambda each: f'{each.seconds:.3f} s')}"
        )
    yield from (
        f"  {name}: {share}, n {share.n}{beside(parent.quality, name, str)}"
        for name, share in variant.quality.items()
    )


def beside(numbers: Mapping[str, T], name: str, shown: Callable[[T], str]) -> str:
    """The parent's number, where it has one of that name."""
    return f"; of the parent {shown(numbers[name])}" if name in numbers else ""
