"""Core ML packages of one model in several precisions: bytes, operators by what they give, and the
parity that export measured.

    python benchmarks/coreml_packages.py NAME=BUNDLE... -o benchmarks/coreml_packages.json

Reads bundles that `export --target coreml` made, with any of its options; nothing is run on a
device, and no claim is made about one. Where an operator may run is Apple's documentation's word
(see `operator_counts`).
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.coreml_package import WEIGHTS, chunks, operator_counts, read_package


def measured(path: Path) -> dict[str, Any]:
    """What one bundle holds and what its export found."""
    bundle = Bundle.open(path)
    components, totals = {}, Counter[str]()
    for name, record in bundle.manifest.components.items():
        parts = chunks(bundle.component_file(name))
        operators = operator_counts(bundle.component_file(name))
        totals.update({gives: sum(counts.values()) for gives, counts in operators.items()})
        components[name] = {
            "packages": len(parts),
            "form": form(parts),
            "weight_bytes": sum((part / WEIGHTS).stat().st_size for part in parts),
            "compressed_layers": len(record.quantisation),
            "largest_weight_error": max(
                (decision.weight_error for decision in record.quantisation.values()), default=None
            ),
            "operators": operators,
        }
    return {
        "weight_bytes": sum(part["weight_bytes"] for part in components.values()),
        "package_bytes": sum(
            file.size for name, file in bundle.manifest.files.items() if ".mlpackage/" in name
        ),
        "operators_by_what_they_give": dict(totals),
        "parity": parity(bundle.manifest.parity),
        "components": components,
    }


def form(parts: list[Path]) -> dict[str, Any]:
    """Shapes that are enumerated (0: ranges), and bytes that a sequence's state takes."""
    programs = [read_package(part) for part in parts]
    states = [
        math.prod(size for size, _ in state.bounds) * 2
        for program in programs
        for state in program.states
    ]
    return {
        "shapes": max(len(each.shapes) for each in programs[0].inputs),
        "state_bytes": sum(states),
    }


def parity(found: dict[str, Any]) -> dict[str, Any]:
    """Of the export's verification: errors of components, the draws of whole generations, and those
    that fell on ties."""
    tasks = found.get("tasks", {}).values()
    return {
        "check": found.get("check"),
        "error_over_limit": max(
            (part["error"] / part["limit"] for part in found.get("components", {}).values()),
            default=None,
        ),
        "errors": {name: part["error"] for name, part in found.get("components", {}).items()},
        "draws": sum(task["draws"] for task in tasks),
        "tasks": len(tasks),
        "near_ties": sum(len(task["near_ties"]) for task in tasks),
        "failures": found.get("failures"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", metavar="NAME=BUNDLE")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    found = {
        name: measured(Path(path))
        for name, _, path in (item.partition("=") for item in given.bundles)
    }
    given.output.write_text(json.dumps(found, indent=1) + "\n")
    for name, data in found.items():
        by_type = ", ".join(
            f"{count} {gives}" for gives, count in data["operators_by_what_they_give"].items()
        )
        print(
            f"{name:<12} {data['weight_bytes']:>12,} bytes of weights; operators: {by_type};"
            f" {data['parity']}"
        )


if __name__ == "__main__":
    main()
