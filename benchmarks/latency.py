"""How fast each quantised variant is: one backbone forward by its rows, and whole generations,
against float32.

    python benchmarks/latency.py [--bundle demo/bundle] [--folder build/latency] [-o
    benchmarks/latency.json]

Two models, on ONNX Runtime: the demo's bundle, and one with the backbone of Qwen2.5-0.5B (24
layers, 896 wide, random weights, small tables and heads). Variants take turns; times are medians.
Static ranges come from random numbers here: they change no time. The bundles that are made stay in
the folder, so that a second run only measures. Some eight minutes of two quiet cores the first
time, and 4 GB of memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import export_memory

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.data.collect import Random, collect
from nextomni_edge.calibration.recipes.config import recipe
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.measure.timing import ROWS, Configuration, forwards, measure, peak_alone
from nextomni_edge.measure.variants import stored_bytes
from nextomni_edge.runtimes.machine import Machine
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond

FLOAT: Final = "float32"
VARIANTS: Final = ("int8-dynamic", "int8-static", "int4-rtn")
DEMO: Final = Path(__file__).resolve().parents[1] / "demo" / "bundle"
COMPONENTS: Final = (
    "embed_text",
    "embed_image",
    "backbone",
    "text_head",
    "image_head",
    "image_encoder",
    "image_decoder",
)
GENERATIONS: Final[tuple[tuple[str, Kind, str], ...]] = (
    ("picture", "image", "draw rocket, noto style"), ("short text", "text", "what is this?"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Model:
    """What is measured of one model: `rounds` of forwards and `repeats` of generations; steps None
    are the model's own."""

    name: str
    rounds: int
    repeats: int
    steps: int | None = None


MODELS: Final = (Model("demo", 15, 9), Model("half a billion", 3, 2, steps=8))


def settings() -> dict[str, Any]:
    """Qwen2.5-0.5B's backbone, 358 million parameters, with small tables and heads; pictures of 64
    positions."""
    found = export_memory.config()
    stack, head = (
        {"width": 64, "layers": 1, "heads": 2},
        {"kind": "parallel", "width": 64, "layers": 1, "heads": 2},
    )
    backbone = {
        "hidden_size": 896,
        "layers": 24,
        "query_heads": 14,
        "kv_heads": 2,
        "mlp_size": 4864,
        "max_positions": 1024,
    }
    image = found["image"] | {
        "size": 128,
        "max_frames": 1,
        "encoder": stack,
        "decoder": stack,
        "head": head,
    }
    audio = found["audio"] | {"encoder": stack, "decoder": stack, "head": head}
    return found | {
        "backbone": backbone,
        "text": {"vocabulary_size": 4096},
        "image": image,
        "audio": audio,
    }


def make_parent(folder: Path) -> None:
    """The larger model's bundle, exported without its weights in memory."""
    from nextomni_edge.export import export_bundle

    shutil.rmtree(folder.parent / "model", ignore_errors=True)
    export_memory.make_model(folder.parent / "model", settings())
    export_bundle(folder.parent / "model", folder, components=COMPONENTS, verify="none")
    shutil.rmtree(folder.parent / "model")


def make_variants(parent: Path, folder: Path) -> dict[str, Path]:
    """Every bundle by name; those that an earlier run made are kept."""
    calibration, bundle = folder / "calibration", Bundle.open(parent)
    if not calibration.exists():
        collect(
            bundle,
            Random(EdgeModel.from_bundle(bundle), bundle.manifest.components, 1),
            calibration,
            bins=4,
        )
    for name in (name for name in VARIANTS if not (folder / name).exists()):
        print(f"quantising {name}", file=sys.stderr)
        quantize(
            parent, folder / name, recipe(name), calibration if name == "int8-static" else None
        )
    return {FLOAT: parent, **{name: folder / name for name in VARIANTS}}


def measured(model: Model, paths: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """By variant: bytes, milliseconds of a forward by rows and of each generation, and the peak
    memory of one alone."""
    models = {name: EdgeModel.from_bundle(Bundle.open(path)) for name, path in paths.items()}
    found: dict[str, dict[str, Any]] = {
        name: {"bytes": stored_bytes(path)} for name, path in paths.items()
    }
    limit = models[FLOAT].config.backbone.max_positions
    times = forwards(list(models.values()), [rows for rows in ROWS if rows <= limit], model.rounds)
    for own, seconds in zip(found.values(), times, strict=True):
        own |= {f"{rows} rows": 1e3 * each for rows, each in seconds.items()}
    for what, kind, text in GENERATIONS:
        configurations = [
            configuration(name, edge, kind, text, model.steps) for name, edge in models.items()
        ]
        for own, each in zip(found.values(), measure(configurations, model.repeats), strict=True):
            own[what] = 1e3 * (each.median("seconds") or 0.0)
    for (name, path), last in zip(paths.items(), configurations, strict=True):
        found[name]["peak_bytes"] = peak_alone(path, last.sequence, last.options)
    return found


def configuration(
    name: str, model: EdgeModel, kind: Kind, text: str, steps: int | None
) -> Configuration:
    """One variant's generation."""
    asked = conversation(model.tokenizer, [Turn("user", (Part("text", text),))], kind)
    # a random model never settles
    options = GenerationOptions.defaults(model.config, kind, steps=steps, stop_early=False)
    return Configuration(
        name, model, respond(asked, kind, model.config, model.tokenizer), options, 0.0
    )


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Milliseconds, and in brackets how many times as fast as float32."""
    names = (FLOAT, *VARIANTS)
    lines = [["", *names], ["---", *["---:"] * len(names)]]
    for model, found in results.items():
        whole = found[FLOAT]
        for what in (key for key in whole if key not in ("bytes", "peak_bytes")):
            cells = [
                f"{found[name][what]:,.1f} ({whole[what] / found[name][what]:.2f}×)"
                for name in names
            ]
            lines.append([f"{model}: {what}, ms", *cells])
        lines.append(
            [f"{model}: all files, MB", *(f"{found[name]['bytes'] / 1e6:,.1f}" for name in names)]
        )
        peaks = [found[name]["peak_bytes"] for name in names]
        lines.append(
            [
                f"{model}: peak memory, MiB",
                *("–" if peak is None else f"{peak / 2**20:,.0f}" for peak in peaks),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Make what is missing, measure, and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/latency"), help="for the bundles; 3 GB"
    )
    parser.add_argument("--models", type=int, choices=(1, 2), default=2, help="1: the demo alone")
    parser.add_argument(
        "--quick", action="store_true", help="one of everything: whether it works, no measurement"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    if not given.bundle.is_dir():
        sys.exit(
            f"{given.bundle}: no bundle; make one with `make demo`, or name another with --bundle"
        )
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for index, model in enumerate(MODELS[: given.models]):
        folder = given.folder / model.name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        parent = folder / "parent" if index else given.bundle
        if not parent.exists():
            make_parent(parent)
        paths = make_variants(parent, folder)
        results[model.name] = measured(
            dataclasses.replace(model, rounds=1, repeats=1) if given.quick else model, paths
        )
    with atomic_write(given.out, "w") as file:
        file.write(
            json.dumps({"machine": vars(Machine.here()), "models": results}, indent=1) + "\n"
        )
    print(table(results))


if __name__ == "__main__":
    main()
