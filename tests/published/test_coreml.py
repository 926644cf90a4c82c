"""LLaDA as Core ML packages: converted here, and run by the interpreter of the stored program.
Apple's library did not run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("coremltools", reason="Core ML packages are written by coremltools")

from nextomni_edge.bundle import Bundle
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Execution
from tests.published.models import imported
from tests.published.runs import all_runs


@pytest.mark.slow  # a conversion of half a minute
def test_a_recorded_run_repeats_through_the_packages(
    made_once: Callable[[str, Callable[[Path], object]], Path],
) -> None:
    path = made_once(
        "published-llada-coreml",
        lambda out: export_bundle(imported("llada"), out, target="coreml", verify="full"),
    )
    bundle = Bundle.open(path)
    assert bundle.manifest.parity["failures"] == []
    model = EdgeModel.from_bundle(bundle, Execution("coreml"))
    for name in ("llada-traj_greedy[0]", "llada-traj_cfg[0]"):
        all_runs()[name].check(model)
