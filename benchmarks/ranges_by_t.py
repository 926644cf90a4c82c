"""Static INT8 with one range per tensor for every t, against a range of its own in each bin of t:
does it help?

    python benchmarks/ranges_by_t.py demo/bundle --calibration demo/calibration \\
        --heldout demo/report/trajectories -o benchmarks/ranges_by_t.json

Both have the same integers for weights and 8 bits for inputs; what differs is an input's scale and
zero point. `widest` is what `int8-static` writes: the widest of the bins' ranges. `own` is the best
that could be built: at each held-out moment, the ranges of that moment's bin alone. KL(parent ‖
variant) of p_{1|t} in nats per draw on held-out trajectories; 95 % intervals over trajectories
(normal), of the difference paired.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.quantised import SMOOTHING
from nextomni_edge.calibration.data.observers import observe
from nextomni_edge.calibration.data.samples import CalibrationSet, Trajectory
from nextomni_edge.calibration.data.statistics import LayerStatistics
from nextomni_edge.calibration.job import Entries, Job
from nextomni_edge.calibration.recipes.calibrated import affine
from nextomni_edge.calibration.recipes.config import Int8Static
from nextomni_edge.calibration.recipes.handlers import decide
from nextomni_edge.calibration.recipes.mixed import variant
from nextomni_edge.calibration.report.agreement import Float64, Mean, compare, predictions
from nextomni_edge.calibration.workspace import Workspace
from nextomni_edge.generate.model import EdgeModel

CONFIGS: Final = {
    "mse, smoothing 0.5": Int8Static(), "mse, smoothing 0.0": Int8Static("mse", 0.0),
    "minmax, smoothing 0.5": Int8Static("minmax"),
}  # fmt: skip
Statistics = Mapping[str, LayerStatistics]


def quantised(job: Job) -> tuple[Entries, Statistics]:
    """Layers whose ranges are the widest, and what each static one reads in each bin, smoothed as
    it is."""
    plan = {
        layer.name: decision
        for layer in job.layers
        if (decision := decide(job.config, layer)) is not None
    }
    entries = job.entries(plan)
    static = [
        layer for layer in job.layers if layer.name in plan and plan[layer.name].scheme == "static"
    ]
    smoothing = {
        layer.name: np.fromfile(job.workspace.file(entries[layer.name].parts[SMOOTHING]), "<f4")
        for layer in static
        if SMOOTHING in entries[layer.name].parts
    }
    assert job.calibration is not None  # `measured` gave it
    return entries, observe(job.parent, job.calibration, static, smoothing=smoothing)


def ranged(entries: Entries, statistics: Statistics, config: Int8Static, b: int) -> Entries:
    """The same layers with the ranges of bin `b` where the calibration set reaches them there."""
    found = dict(entries)
    for name, each in statistics.items():
        if b < len(each.bins) and each.bins[b].rows:
            activation = affine(*each.bins[b].range(config.range))
            found[name] = dataclasses.replace(
                entries[name],
                decision=dataclasses.replace(entries[name].decision, activation=activation),
            )
    return found


def moment(trajectory: Trajectory, b: int) -> Trajectory:
    """A trajectory's one moment in bin `b`."""
    x_t, x_1 = (
        tuple(array[b : b + 1] for array in arrays) for arrays in (trajectory.x_t, trajectory.x_1)
    )
    return dataclasses.replace(trajectory, t=trajectory.t[b : b + 1], x_t=x_t, x_1=x_1)


def measured(
    bundle: Bundle,
    model: EdgeModel,
    calibration: CalibrationSet,
    heldout: CalibrationSet,
    config: Int8Static,
) -> tuple[Float64, Float64]:
    """KL of each held-out trajectory in each bin, (n, bins) twice: with the widest ranges, with the
    bins' own."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            bundle,
            config,
            calibration,
            Workspace(Path(folder) / "out", {}, resume=False),
            lambda what, share: None,
        )
        entries, statistics = quantised(job)
        widest = variant(job, model, entries)
        own = [
            variant(job, model, ranged(entries, statistics, config, b))
            for b in range(calibration.record.bins)
        ]
        found: tuple[list[Any], list[Any]] = [], []
        for record, trajectory in heldout.trajectories():
            guidance = heldout.record.generation[record.answer]["guidance"]
            expected = predictions(model, trajectory, guidance)
            found[0].append(compare(expected, predictions(widest, trajectory, guidance))[0])
            alone = [predictions(own[b], moment(trajectory, b), guidance) for b in range(len(own))]
            found[1].append(compare(expected, np.concatenate(alone))[0])
    return np.stack(found[0]), np.stack(found[1])


def summary(widest: Float64, own: Float64) -> dict[str, Any]:
    """As JSON data."""
    return {
        "widest": Mean.of(widest.mean(axis=1)).to_json(),
        "own": Mean.of(own.mean(axis=1)).to_json(),
        "own_minus_widest": Mean.of((own - widest).mean(axis=1)).to_json(),
        "widest_by_t": widest.mean(axis=0).tolist(),
        "own_by_t": own.mean(axis=0).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"))
    parser.add_argument("--calibration", type=Path, default=Path("demo/calibration"))
    parser.add_argument(
        "--heldout",
        type=Path,
        default=Path("demo/report/trajectories"),
        help="a set over held-out prompts",
    )
    parser.add_argument(
        "--configs", nargs="+", choices=list(CONFIGS), default=list(CONFIGS), metavar="NAME"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    model, calibration = (
        EdgeModel.from_bundle(bundle),
        CalibrationSet.open(options.calibration).require(bundle),
    )
    heldout = CalibrationSet.open(options.heldout).require(bundle, bins=calibration.record.bins)
    results = {}
    for name in options.configs:
        results[name] = summary(*measured(bundle, model, calibration, heldout, CONFIGS[name]))
        widest, own, less = (results[name][key] for key in ("widest", "own", "own_minus_widest"))
        print(
            f"{name}: KL {widest['mean']:.3e}, ranges of each bin {own['mean']:.3e}"
            f" ({less['mean']:+.1e} ± {less['ci95']:.0e})"
        )
    versions = {name: metadata.version(name) for name in ("numpy", "onnx-ir", "onnxruntime")}
    sizes = {
        "trajectories": len(calibration),
        "bins": calibration.record.bins,
        "heldout_trajectories": len(heldout),
    }
    data = {
        **sizes,
        "results": results,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions,
    }
    options.output.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
