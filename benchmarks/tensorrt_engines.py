"""TensorRT engines of bundles for several kinds of GPU, built ahead of time without one: layers,
data types, memory and size.

    python benchmarks/tensorrt_engines.py BUNDLE... -o benchmarks/tensorrt_engines.json

Built, not executed: layers and memory are what the builder says at its end; working memory is that
at the profile's largest shapes. A kind of GPU that the library does not know is written down with
what the library says to it, and so is a graph that it refuses.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Final, cast

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import NextOmniError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.runtimes.base import Compute
from nextomni_edge.runtimes.tensorrt.build import Asked, build, check_capability
from nextomni_edge.runtimes.tensorrt.engines import has_float8
from nextomni_edge.runtimes.tensorrt.profile import Limits
from nextomni_edge.runtimes.tensorrt.qdq import qdq_form

KINDS: Final = {
    "sm87": "Orin",
    "sm86": "Ampere, which Orin's sm87 is near to",
    "sm89": "RTX 40",
    "sm120": "RTX 50 (Blackwell)",
}
COMPUTES: Final[tuple[Compute, ...]] = ("float32", "float16", "bfloat16")


def engines(bundle: Bundle, asked: Asked, folder: Path) -> dict[str, Any]:
    """By component what was built, or why not; or the one reason why nothing can be for this
    kind."""
    try:
        check_capability(asked, None, has_float8(bundle, bundle.manifest.components))
    except NextOmniError as error:
        return {"refused": str(error)}
    found: dict[str, Any] = {}
    for name, record in bundle.manifest.components.items():
        try:
            graph = qdq_form(bundle, name, folder) if record.quantisation else None
            built, plan = build(
                name, bundle.component_file(name), graph_specs(bundle.config)[name], asked, graph
            )
        except NextOmniError as error:
            found[name] = {"refused": str(error)}
            continue
        found[name] = {
            "layers": built.layers, "layers_writing": built.outputs_by_dtype,
            "products_reading": built.products_by_dtype, "weight_bytes": built.weight_bytes,
            "activation_bytes": built.activation_bytes, "plan_bytes": plan.nbytes,
            "ranges": {tensor: asdict(shapes) for tensor, shapes in built.ranges.items()},
        }  # fmt: skip
        print(
            f"{bundle.path.name} {asked.capability} {asked.compute} {name}: {plan.nbytes:,} bytes",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--computes", default=",".join(COMPUTES))
    given = parser.parse_args()
    library = f"tensorrt-rtx {metadata.version('tensorrt-rtx')}"
    data: dict[str, Any] = {
        "library": library,
        "executed": False,
        "limits": asdict(Limits()),
        "rows": [],
    }
    for path in given.bundles:
        bundle = Bundle.open(path)
        for kind in given.kinds.split(","):
            for compute in given.computes.split(","):
                with tempfile.TemporaryDirectory() as folder:
                    asked = Asked(kind, cast("Compute", compute), Limits(), Path(folder))
                    row = {
                        "bundle": path.name,
                        "capability": kind,
                        "meaning": KINDS.get(kind, ""),
                        "compute": compute,
                    }
                    data["rows"].append(row | {"components": engines(bundle, asked, Path(folder))})
                # a row may take minutes
                given.output.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
