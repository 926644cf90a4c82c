"""Published masked models as Core ML packages: converted here, and run by the interpreter of the
stored program. Apple's library did not run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("coremltools", reason="Core ML packages are written by coremltools")

from nextomni_edge.bundle import Bundle
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.pack import pack
from nextomni_edge.runtimes.base import Execution
from tests.published.models import MakeOnce, imported
from tests.published.runs import all_runs, lumina_image_runs

RUNS = {
    "llada": ("traj_greedy[0]", "traj_cfg[0]"),
    "dream": ("text", "block"),
    "mmada": ("traj_mmu[0]", "t2i[0]"),
    "lumina_dimoo": ("traj_mmu[0]",),
}


def packages(family: str, made_once: MakeOnce) -> Bundle:
    path = made_once(
        f"published-{family}-coreml",
        lambda out: export_bundle(imported(family), out, target="coreml", verify="full"),
    )
    return Bundle.open(path)


@pytest.mark.slow  # conversions of half a minute and more
@pytest.mark.parametrize("family", RUNS)
def test_a_recorded_run_repeats_through_the_packages(family: str, made_once: MakeOnce) -> None:
    bundle = packages(family, made_once)
    assert bundle.manifest.parity["failures"] == []
    model = EdgeModel.from_bundle(bundle, Execution("coreml"))
    for name in RUNS[family]:
        all_runs()[f"{family}-{name}"].check(model)
    if family == "lumina_dimoo":
        run = next(run for run in lumina_image_runs(model) if run.name == "t2i")
        run.check(model)


@pytest.mark.slow
@pytest.mark.parametrize("family", RUNS)
def test_a_swift_package_of_it_holds_a_trace_that_is_written_by_commits(
    family: str, made_once: MakeOnce, tmp_path: Path
) -> None:
    pack(packages(family, made_once), tmp_path / "NextOmni", "ios")
    (path,) = (tmp_path / "NextOmni").glob("Sources/*/Model/golden.json")
    trace = json.loads(path.read_text())
    assert trace["tasks"] and {task["stepper"] for task in trace["tasks"]} == {"commit"}
