"""What each recipe flips: `python benchmarks/flips.py [BUNDLE]`, by default demo/bundle, writes
flips.json next to it.

A flip is a draw of x_1 whose likeliest symbol is another than the parent's, on the parent's own x_t
of its golden trace: what a greedy or a commit decoder would write otherwise. It is counted over all
draws, and over those that are decided next. The bundle is the demo's. Next to it stand the small
published masked models of the tests and an OmniVoice, whose weights are random: they show the
decoders' forms, not a trained model's margins. Recipes that need data are calibrated on the
model's own trajectories over the tasks that verify runs, with other seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration.data.collect import Planned, collect
from nextomni_edge.calibration.quantize import quantize
from nextomni_edge.calibration.recipes.config import recipe
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel

ROOT: Final = Path(__file__).parents[1]
RECIPES: Final = ("int8-dynamic", "int8-static", "int4-rtn", "int4-gptq", "int4-gptq-frontier")
WITHOUT_DATA: Final = ("int8-dynamic", "int4-rtn")
FAMILIES: Final = ("llada", "dream", "mmada", "lumina_dimoo")


def flips(name: str, bundle: Path, folder: Path) -> list[dict[str, Any]]:
    """One bundle under every recipe."""
    opened, found = Bundle.open(bundle), []
    model = EdgeModel.from_bundle(opened)
    data = folder / f"{name}-calibration"
    collect(opened, Planned(model, opened.manifest.components), data, seed=1)
    for each in RECIPES:
        given = None if each in WITHOUT_DATA else data
        report = quantize(bundle, folder / f"{name}-{each}", recipe(each), given)
        assert report.cost is not None  # every bundle here has a golden trace
        found.append({
            "model": name, "recipe": each, "kl": report.cost.kl, "flips": report.cost.flips,
            "flips_when_decided": report.cost.flips_when_decided,
            "times_smaller": report.parent_bytes / report.bytes,
        })  # fmt: skip
        print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    """Measure all models and write flips.json next to this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path, default=ROOT / "demo" / "bundle")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.published import omnivoice_models
    from tests.published.models import imported

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = flips("demo", asked.bundle, folder)
        models = {family: imported(family) for family in FAMILIES}
        for family, model in (models | {"omnivoice": omnivoice_models.imported("few")}).items():
            export_bundle(model, folder / family)
            rows += flips(family, folder / family, folder)
    with atomic_write(Path(__file__).with_suffix(".json"), "w") as file:
        file.write(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
