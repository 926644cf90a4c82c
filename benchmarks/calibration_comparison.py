"""Four ways to calibrate one model, with the same handler, bits and number of samples: does it help
to stratify over the flow time?

    python benchmarks/calibration_comparison.py demo/bundle \\
        -o benchmarks/calibration_comparison.json

    random        random ids at every position and random media
    data          the model's finished sequences: t = 1 only
    uniform       moments of its trajectories at times drawn uniformly, over prompts drawn with
                  replacement
    stratified    `nextomni-edge calibrate`: a moment of each bin, as many prompts of each task

Each makes --seeds sets; each set makes INT4 bundles (GPTQ, AWQ) and INT8 ones (static), which are
held against the parent on its own trajectories over held-out prompts: KL(parent ‖ variant) of
p_{1|t} in nats per draw. A calibration's number is the mean over its sets, its interval that of the
trajectories' differences to `stratified` (paired, 95 %, normal).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import platform
import sys
from collections.abc import Sequence as Many
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.data.collect import Prompted, Random, Source, collect
from nextomni_edge.calibration.data.prompts import read_prompts
from nextomni_edge.calibration.data.samples import CalibrationSet, Trajectory
from nextomni_edge.calibration.recipes.config import Int4, Int8Static, QuantConfig
from nextomni_edge.calibration.report.agreement import Agreement, Mean, agreements
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel

EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "emoji"
BINS: Final = 8
CONFIGS: Final[dict[str, QuantConfig]] = {
    "int4-gptq": Int4("gptq"),
    "int4-awq": Int4("awq"),
    "int8-static": Int8Static(),
    "int8-static-minmax": Int8Static("minmax", smoothing=0.0),
    "int8-static-mse": Int8Static("mse", smoothing=0.0),
}


class Numbers(Random):
    """As many trajectories of random numbers as the others have, over verify's tasks."""

    def __init__(self, model: EdgeModel, components: Many[str], count: int) -> None:
        super().__init__(model, components, count)
        chosen = [index * len(self.tasks) // count for index in range(count)]
        self.plans, self.tasks = (
            [self.plans[index] for index in chosen],
            [self.tasks[index] for index in chosen],
        )


class Finished(Prompted):
    """Every moment is the end of its trajectory: what a calibration sees that feeds a model its
    data."""

    def trajectories(self, indices: Many[int], bins: int, seed: int) -> list[Trajectory]:
        def at_the_end(one: Trajectory) -> Trajectory:
            ends = tuple(np.repeat(end[None], bins, axis=0) for end in one.finished)
            return dataclasses.replace(one, t=np.ones(bins), x_t=ends, x_1=ends)

        return [at_the_end(one) for one in super().trajectories(indices, bins, seed)]


class Uniform(Prompted):
    """Moments at any times of trajectories over any prompts: each drawn with replacement, nothing
    balanced."""

    def __init__(self, model: EdgeModel, path: Path, seed: int) -> None:
        super().__init__(model, path)
        self.drawn = np.random.default_rng(seed).integers(0, len(self.tasks), len(self.tasks))
        self.tasks = [self.tasks[prompt] for prompt in self.drawn]

    def asked(self, index: int) -> Any:
        return super().asked(int(self.drawn[index]))

    def steps(self, steps: int, bins: int, seed: int, index: int) -> list[int]:
        return sorted(
            np.random.default_rng([seed, index, 1]).choice(steps, bins, replace=False).tolist()
        )


def few_prompts(prompts: Path, each: int, folder: Path, skip: int) -> Path:
    """A list of `each` prompts of every task, after `skip` of them, with whole paths."""
    listed, home = read_prompts(prompts)
    lines, seen = [], dict[str, int]()
    for prompt in listed:
        seen[prompt.task] = seen.get(prompt.task, 0) + 1
        if skip < seen[prompt.task] <= skip + each:
            data = dataclasses.asdict(prompt)
            for part in (
                part for turn in data["turns"] for part in turn["parts"] if part["kind"] != "text"
            ):
                part["value"] = str((home / part["value"]).resolve())
            lines.append(json.dumps(data))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"prompts-{skip}.jsonl").write_text("\n".join(lines))
    return folder / f"prompts-{skip}.jsonl"


def source(kind: str, model: EdgeModel, components: Many[str], prompts: Path, seed: int) -> Source:
    """Where a calibration's trajectories come from; all have as many, of as many moments."""
    if kind == "random":
        return Numbers(model, components, len(Prompted(model, prompts).tasks))
    if kind == "uniform":
        return Uniform(model, prompts, seed)
    return (Finished if kind == "data" else Prompted)(model, prompts)


def kept(path: Path, make: Any) -> Any:
    """What an earlier run wrote to `path`, or what `make` writes there now."""
    return path if path.exists() else (make(), path)[1]


def measured(
    bundle: Bundle, model: EdgeModel, heldout: CalibrationSet, calibration: Path, names: Many[str]
) -> dict[str, Agreement]:
    """One bundle for each config, made with one calibration set, against the parent. What is beside
    the set is not done again."""
    file = calibration.with_suffix(".npz")
    known: dict[str, Any] = dict(np.load(file)) if file.exists() else {}
    if missing := [name for name in names if f"{name}/kl" not in known]:
        made = [calibration.with_name(f"{name}-{calibration.name}") for name in missing]
        for name, out in zip(missing, made, strict=True):
            kept(out, functools.partial(quantize, bundle.path, out, CONFIGS[name], calibration))
        found = agreements(
            model, [EdgeModel.from_bundle(Bundle.open(out)) for out in made], heldout
        )
        for name, one in zip(missing, found, strict=True):
            known |= {
                "modalities": np.array(one.modalities),
                f"{name}/kl": one.kl,
                f"{name}/same": one.same_argmax,
                f"{name}/decided": one.decided,
            }
        with atomic_write(file) as partial:
            np.savez(partial, **known)
    modalities = tuple(known["modalities"].tolist())
    return {
        name: Agreement(
            modalities, known[f"{name}/kl"], known[f"{name}/same"], (), known[f"{name}/decided"]
        )
        for name in names
    }


def summary(found: dict[str, list[Agreement]]) -> dict[str, Any]:
    """Of each calibration: KL and share of equal argmax over its sets, KL in each bin, and the
    difference to `stratified`."""
    per_trajectory = {
        kind: np.mean([one.kl.mean(axis=1) for one in sets], axis=0) for kind, sets in found.items()
    }
    return {
        kind: {
            "kl": Mean.of(per_trajectory[kind]).to_json(),
            "kl_of_each_set": [float(one.kl.mean()) for one in sets],
            "same_argmax": (
                Mean.of(np.mean([one.same_argmax.mean(axis=1) for one in sets], axis=0)).to_json()
            ),
            "kl_by_t": np.mean([one.kl.mean(axis=0) for one in sets], axis=0).tolist(),
            "above_stratified": (
                Mean.of(per_trajectory[kind] - per_trajectory["stratified"]).to_json()
            ),
        }
        for kind, sets in found.items()
    }


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as JSON data."""
    bundle = Bundle.open(options.bundle)
    model, folder = EdgeModel.from_bundle(bundle), options.folder
    folder.mkdir(parents=True, exist_ok=True)
    kept(
        folder / "heldout",
        lambda: collect(bundle, Prompted(model, options.heldout), folder / "heldout", BINS, seed=1),
    )
    heldout = CalibrationSet.open(folder / "heldout").require(bundle)
    found: dict[str, dict[str, list[Agreement]]] = {name: {} for name in options.configs}
    for seed in range(options.seeds):
        prompts = few_prompts(options.prompts, options.each, folder, seed * options.each)
        for kind in ("random", "data", "uniform", "stratified"):
            calibration = folder / f"set-{kind}-{seed}"
            made_of = source(kind, model, list(bundle.manifest.components), prompts, seed)
            kept(calibration, functools.partial(collect, bundle, made_of, calibration, BINS, seed))
            for name, one in measured(bundle, model, heldout, calibration, options.configs).items():
                found[name].setdefault(kind, []).append(one)
                print(
                    f"{name:<20} {kind:<12} set {seed}: KL {one.divergence.value:.3e}",
                    file=sys.stderr,
                )
    return {
        "trajectories_of_a_set": len(CalibrationSet.open(folder / "set-stratified-0")),
        "moments_of_each": BINS,
        "sets_of_each": options.seeds,
        "heldout_trajectories": len(heldout),
        "results": {name: summary(kinds) for name, kinds in found.items()},
    }


def table(results: dict[str, Any]) -> str:
    """The results as text."""
    lines = []
    for name, kinds in results.items():
        for kind, one in kinds.items():
            above = one["above_stratified"]
            ending = (
                ""
                if kind == "stratified"
                else f", {above['mean']:+.2e} ± {above['ci95']:.1e} to stratified"
            )
            lines.append(
                f"{name:<20} {kind:<12} KL {one['kl']['mean']:.3e}, same argmax"
                f" {one['same_argmax']['mean']:.4f}{ending}"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"))
    parser.add_argument(
        "--prompts", type=Path, default=EXAMPLE / "calibration", help="of the training split"
    )
    parser.add_argument(
        "--heldout", type=Path, default=EXAMPLE / "heldout", help="prompts to measure on"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/calibration_comparison"),
        help="for sets and bundles; kept",
    )
    parser.add_argument("--each", type=int, default=4, help="prompts of each task in a set")
    parser.add_argument(
        "--seeds", type=int, default=3, help="sets of each calibration, of other prompts"
    )
    parser.add_argument(
        "--configs",
        nargs="+",
        choices=list(CONFIGS),
        default=list(CONFIGS),
        metavar="NAME",
        help="handlers to compare",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    result = compare(options)
    versions = {name: metadata.version(name) for name in ("numpy", "onnx-ir", "onnxruntime")}
    result |= {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions,
    }
    print(table(result["results"]))
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
