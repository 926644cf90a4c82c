"""Does calibration lose fewer decisions where the rows that are decided next count more?

    python benchmarks/frontier.py [BUNDLE] [--spelling MODEL] [-o FILE]

INT4 by GPTQ, with the frontier's rows counted once (its unweighted twin), 4, 8 and 32 times in
E[x·xᵀ], at equal bits. BUNDLE is the demo's, on the metric path. MODEL is the masked arm of
`benchmarks/two_paths.py --train mask`, where a commit is for good. Each weight makes --seeds
bundles with calibration sets of other prompts; all are held against the parent on its own
trajectories over held-out prompts. A number is the mean over the sets, its interval that of the
trajectories (95 %, normal), and a difference is paired with the twin.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from calibration_comparison import BINS, EXAMPLE, few_prompts, kept
from two_paths import BLOCK, LETTERS, TOKENS, words_of

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.data.collect import Prompted, collect
from nextomni_edge.calibration.data.samples import CalibrationSet
from nextomni_edge.calibration.recipes.config import Int4
from nextomni_edge.calibration.report.agreement import Agreement, Mean, agreements
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel

WEIGHTS: Final = (1.0, 4.0, 8.0, 32.0)
WORDS: Final = (20_000, 300)  # what two_paths.py trains on, and what training never met
TEXT: Final = ("embed_text", "backbone", "text_head")  # what a text goes through
MEASURES: Final = ("kl", "flips", "flips_when_decided")


def spelling_prompts(folder: Path, each: int, seeds: int) -> tuple[list[Path], Path]:
    """A list of words of the training split for each seed, and one of held-out words."""
    trained, heldout = WORDS
    words = words_of(trained + heldout, seed=0)
    assert all(len(word) == LETTERS for word in words)
    lists = [words[seed * each : (seed + 1) * each] for seed in range(seeds)]
    files = []
    for index, own in enumerate((*lists, words[trained:])):
        file = folder / f"spelling-{index}.jsonl"
        lines = (
            {"task": "spell", "answer": "text", "count": TOKENS // BLOCK,
             "turns": [{"role": "user", "parts": [{"kind": "text", "value": word}]}]}
            for word in own
        )  # fmt: skip
        file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        files.append(file)
    return files[:-1], files[-1]


def measures(found: Agreement) -> dict[str, np.ndarray[Any, Any]]:
    """Each measure of every trajectory, (n,); NaN where nothing is decided."""
    return {
        "kl": found.kl.mean(axis=1),
        "flips": 1.0 - found.same_argmax.mean(axis=1),
        "flips_when_decided": found.decided,
    }


def compared(
    bundle: Bundle, folder: Path, prompts: list[Path], heldout: Path, skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    """One model under every weight: {weight: {measure: its mean, and its difference}}. What an
    earlier run found stands in the folder."""
    file = folder / "result.json"
    kept(
        file, lambda: file.write_text(json.dumps(measured(bundle, folder, prompts, heldout, skip)))
    )
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def measured(
    bundle: Bundle, folder: Path, prompts: list[Path], heldout: Path, skip: tuple[str, ...]
) -> dict[str, Any]:
    """What `compared` keeps. `skip`: components that the prompts never reach."""
    model = EdgeModel.from_bundle(bundle)

    def sampled(name: str, source: Path, seed: int) -> CalibrationSet:
        out = folder / name
        kept(out, lambda: collect(bundle, Prompted(model, source), out, BINS, seed=seed))
        return CalibrationSet.open(out)

    asked = sampled("heldout", heldout, len(prompts))
    values: dict[float, list[dict[str, Any]]] = {weight: [] for weight in WEIGHTS}
    for seed, source in enumerate(prompts):
        calibration = sampled(f"set-{seed}", source, seed)
        for weight in WEIGHTS:
            out = folder / f"bundle-{seed}-{weight:g}"
            config = Int4("gptq", skip=skip, frontier=weight)
            kept(out, functools.partial(quantize, bundle.path, out, config, calibration.path))
            variant = EdgeModel.from_bundle(Bundle.open(out))
            values[weight].append(measures(agreements(model, [variant], asked)[0]))
            print(bundle.path.name, weight, seed, file=sys.stderr, flush=True)
    means = {
        weight: {name: np.mean([one[name] for one in sets], axis=0) for name in MEASURES}
        for weight, sets in values.items()
    }
    return {
        f"{weight:g}": {
            name: {
                "value": mean(own[name]).to_json(),
                "above_twin": mean(own[name] - means[1.0][name]).to_json(),
            }
            for name in MEASURES
        }
        for weight, own in means.items()
    }


def mean(values: np.ndarray[Any, Any]) -> Mean:
    return Mean.of(values[~np.isnan(values)])


def table(results: dict[str, Any]) -> str:
    """A line for each model and weight: every measure with its difference to the twin."""
    lines = ["| model, weight | " + " | ".join(MEASURES) + " |", "|---|" + "---:|" * len(MEASURES)]
    for name, weights in results.items():
        for weight, own in weights.items():
            cells = []
            for each in MEASURES:
                value, above = own[each]["value"], own[each]["above_twin"]
                told = f" ({above['mean']:+.4f} ± {above['ci95']:.4f})" if weight != "1" else ""
                cells.append(f"{value['mean']:.4f}{told}")
            lines.append(f"| {name}, {weight} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure all models and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"))
    parser.add_argument("--spelling", type=Path, default=Path("build/two-paths/mask"))
    parser.add_argument("--folder", type=Path, default=Path("build/frontier"), help="kept")
    parser.add_argument("--each", type=int, default=4, help="prompts of each task in a set")
    parser.add_argument("--seeds", type=int, default=3, help="sets of each weight")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    demo, spelling = given.folder / "demo", given.folder / "spelling"
    for folder in (demo, spelling):
        folder.mkdir(parents=True, exist_ok=True)
    lists = [
        few_prompts(EXAMPLE / "calibration", given.each, demo, seed * given.each)
        for seed in range(given.seeds)
    ]
    results = {"demo": compared(Bundle.open(given.bundle), demo, lists, EXAMPLE / "heldout")}
    exported = spelling / "bundle"
    kept(exported, lambda: export_bundle(given.spelling, exported))
    lists, heldout = spelling_prompts(spelling, 10 * given.each, given.seeds)
    bundle = Bundle.open(exported)
    skip = tuple(name for name in bundle.manifest.components if name not in TEXT)
    results["spelling"] = compared(bundle, spelling, lists, heldout, skip)
    settings = {"each": given.each, "seeds": given.seeds, "weights": WEIGHTS}
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps({"settings": settings, "results": results}, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
