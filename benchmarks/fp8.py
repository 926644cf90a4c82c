"""FP8 (E4M3 weights and inputs) against the INT8 recipes: the divergence from the parent on
held-out prompts, at every t.

    python benchmarks/fp8.py demo/bundle --calibration demo/calibration --heldout
    demo/report/trajectories -o benchmarks/fp8.json

Run by ONNX Runtime on the CPU, which computes the same rounding and float32 products. KL(parent ‖
variant) of p_{1|t} in nats per draw and the share of draws of the same likeliest symbol; 95 %
intervals over trajectories (normal), of the differences to int8-static paired.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.data.samples import CalibrationSet
from nextomni_edge.calibration.recipes.config import Fp8, Int8Dynamic, Int8Static, QuantConfig
from nextomni_edge.calibration.report.agreement import Agreement, Mean, agreements
from nextomni_edge.generate.model import EdgeModel

CONFIGS: Final[dict[str, QuantConfig]] = {
    "fp8": Fp8(), "fp8, 99.99 % of the values": Fp8("percentile"), "int8-static": Int8Static(),
    "int8-static, symmetric": Int8Static(symmetric=True), "int8-dynamic": Int8Dynamic(),
}  # fmt: skip
REFERENCE: Final = "int8-static"


def summary(found: Agreement, reference: Agreement) -> dict[str, Any]:
    """As JSON data."""
    by_modality = {
        name: Mean.of(found.of(name).kl.mean(axis=1)).to_json()
        for name in sorted(set(found.modalities))
    }
    return {
        "kl": found.divergence.to_json(),
        "kl_above_int8_static": Mean.of((found.kl - reference.kl).mean(axis=1)).to_json(),
        "same_argmax": Mean.of(found.same_argmax.mean(axis=1)).to_json(),
        "kl_by_t": found.kl.mean(axis=0).tolist(),
        "kl_by_modality": by_modality,
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
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    model, heldout = (
        EdgeModel.from_bundle(bundle),
        CalibrationSet.open(options.heldout).require(bundle),
    )
    with tempfile.TemporaryDirectory() as folder:
        reports = [
            quantize(bundle.path, Path(folder) / str(index), config, options.calibration)
            for index, config in enumerate(CONFIGS.values())
        ]
        variants = [EdgeModel.from_bundle(Bundle.open(report.out)) for report in reports]
        found = dict(zip(CONFIGS, agreements(model, variants, heldout), strict=True))
    results = {name: summary(one, found[REFERENCE]) for name, one in found.items()}
    for (name, result), report in zip(results.items(), reports, strict=True):
        result |= {"bytes": report.bytes, "kl_golden": report.divergence}
        kl, above = result["kl"], result["kl_above_int8_static"]
        numbers = (
            f"KL {kl['mean']:.4f} ± {kl['ci95']:.4f} ({above['mean']:+.4f} ± {above['ci95']:.4f})"
        )
        same = result["same_argmax"]["mean"]
        print(
            f"{name:<28} {numbers}, same argmax {same:.4f}, golden {report.divergence:.4f},"
            f" {report.bytes:,} bytes"
        )
    versions = {name: metadata.version(name) for name in ("numpy", "onnx-ir", "onnxruntime")}
    data = {
        "heldout_trajectories": len(heldout),
        "results": results,
        "python": platform.python_version(),
        "versions": versions,
    }
    options.output.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
