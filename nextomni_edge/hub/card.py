"""A model card, written from what a bundle's manifest says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from nextomni_edge.bundle.manifest import Manifest
from nextomni_edge.bundle.measured import Agreement
from nextomni_edge.bundle.parity import parity_lines
from nextomni_edge.bundle.reader import Bundle, bundle_identity

LIBRARY: Final = "nextomni-edge"
REPLAY: Final = (
    "`doctor` replays the golden trace of this bundle on your machine, on the runtime that `run`"
    " takes."
)
ABOUT: Final = (
    "An any-to-any discrete-flow model as separate graphs for devices. It runs without PyTorch:"
    " numpy, one runtime library, a tokenizer and media libraries are enough."
)


def model_card(bundle: Bundle, repository: str, licence: str) -> str:
    """README.md of the bundle's repository: licence, what it holds, parity, quantisation with its
    cost, and how to run it."""
    parts = [
        _front_matter(bundle.manifest, licence),
        f"# {repository.rpartition('/')[2]}",
        ABOUT,
        "\n".join(_facts(bundle, licence)),
        "## Run it",
        f"```sh\n{_commands(repository)}\n```",
        REPLAY,
        "## What was checked",
        "\n".join(f"- {line.strip()}" for line in parity_lines(bundle.manifest.parity)),
    ]
    if bundle.manifest.quantisation:
        parts += ["## Quantisation", "\n".join(_quantisation(bundle.manifest))]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest, licence: str) -> str:
    """The YAML that the hub reads. JSON's strings are YAML's, so nothing of a config ends it."""
    tags = ["any-to-any", "discrete-flow", *sorted(_formats(manifest))]
    lines = [
        f"license: {json.dumps(licence)}",
        f"library_name: {LIBRARY}",
        "pipeline_tag: any-to-any",
        "tags:",
        *(f"- {tag}" for tag in tags),
    ]
    return "\n".join(["---", *lines, "---"])


def _formats(manifest: Manifest) -> set[str]:
    return {component.format for component in manifest.components.values()}


def _facts(bundle: Bundle, licence: str) -> Iterator[str]:
    manifest = bundle.manifest
    precisions = sorted({component.precision for component in manifest.components.values()})
    size = sum(record.size for record in manifest.files.values())
    yield "| | |"
    yield "|---|---|"
    yield f"| licence | {licence} |"
    yield f"| modalities | {', '.join(manifest.config.modalities)} |"
    yield f"| format | {', '.join(sorted(_formats(manifest)))} |"
    yield f"| stored as | {', '.join(precisions)} |"
    yield f"| size | {size / 1e6:,.1f} MB in {len(manifest.files)} files |"
    yield f"| identity | `{bundle_identity(bundle.path)}` |"


def _commands(repository: str) -> str:
    return "\n".join(
        [
            "pip install 'nextomni-edge[cpu,hub]'",
            f"nextomni-edge doctor hf:{repository}",
            f'nextomni-edge run hf:{repository} --text "..."',
        ]
    )


def _quantisation(manifest: Manifest) -> Iterator[str]:
    made = manifest.quantisation
    assert made is not None
    yield f"- Recipe: `{json.dumps(made.recipe, sort_keys=True)}`"
    yield f"- Parent: the bundle whose manifest has the SHA-256 `{made.parent}`"
    yield f"- Calibrated: {_calibration(made.calibration, made.random_calibration)}"
    yield f"- Measured when it was made: `{json.dumps(made.gate, sort_keys=True)}`"
    if manifest.measured:
        for modality, agreement in sorted(manifest.measured.agreement.items()):
            yield f"- {modality}: {_cost(agreement)}"


def _calibration(digest: str | None, random: bool) -> str:
    if digest is None:
        return "on no data"
    return f"on {'random numbers' if random else 'trajectories of the model'}, `{digest}`"


def _cost(found: Agreement) -> str:
    return (
        f"KL from the parent {found.kl} nats per draw, the same likeliest symbol in"
        f" {found.same_argmax} of the draws"
    )
