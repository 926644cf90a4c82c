"""Memory over many generations, by benchmarks/growth.py's own measure."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from nextomni_edge.generate.model import EdgeModel


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="resident memory is read from Linux's /proc"
)
def test_200_generations_take_no_more_memory_than_the_first(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nextomni_edge.bundle import Bundle

    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    growth = importlib.import_module("growth")
    found = growth.sizes(EdgeModel.from_bundle(Bundle.open(tiny_bundle)), 200)
    assert len(found) == 21
    assert found[-1] < found[0] * 1.01
