"""Killed at any moment, quantising goes on where it stopped, and the bundle is the same to the
byte."""

from __future__ import annotations

import functools
import random
import time
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Decision
from nextomni_edge.bundle.reader import walk
from nextomni_edge.calibration import quantize, workspace
from nextomni_edge.calibration.recipes.config import recipe
from nextomni_edge.calibration.workspace import Workspace
from tests.killed import killed

KILLS = 6


def content(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in walk(path)}


@pytest.mark.slow
def test_killed_runs_that_go_on_give_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    quantize(tiny_bundle, tmp_path / "whole", recipe("int4-rtn"))
    duration, chance, kills = time.monotonic() - started, random.Random(0), 0
    out = tmp_path / "out"
    again = functools.partial(quantize, tiny_bundle, out, recipe("int4-rtn"))
    for _ in range(KILLS):
        kills += killed(again, chance.uniform(0.0, 0.8 * duration))
        assert not out.exists() or content(out) == content(tmp_path / "whole")
        if out.exists():
            break
    assert kills > 0
    if not out.exists():
        again()
    assert content(out) == content(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "whole"}


def test_layers_that_are_done_are_not_done_again(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize(tiny_bundle, tmp_path / "whole", recipe("int8-dynamic"))
    stored = list[str]()
    store = Workspace.store

    def counted(self: Workspace, layer: str, *rest: object) -> object:
        if len(stored) == 20:
            raise KeyboardInterrupt
        stored.append(layer)
        return store(self, layer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(workspace.Workspace, "store", counted)
    with pytest.raises(KeyboardInterrupt):
        quantize(tiny_bundle, tmp_path / "out", recipe("int8-dynamic"))
    first, stored[:] = list(stored), []
    monkeypatch.setattr(workspace.Workspace, "store", store)
    again = list[str]()
    monkeypatch.setattr(
        workspace.Workspace,
        "store",
        lambda self, layer, *rest: (again.append(layer), store(self, layer, *rest))[1],
    )
    quantize(tiny_bundle, tmp_path / "out", recipe("int8-dynamic"))
    assert len(first) == 20 and not set(first) & set(again)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_part_that_was_damaged_meanwhile_is_made_again(tiny_bundle: Path, tmp_path: Path) -> None:
    kept = Workspace(tmp_path / "out", {"key": 1}, resume=True)
    entry = kept.store(
        "backbone/a", Decision("rows", "gather", 8), {"quantised": np.arange(4, dtype=np.int8)}, {}
    )
    assert kept.load("backbone/a") == entry
    kept.file(entry.parts["quantised"]).write_bytes(b"1234")
    assert kept.load("backbone/a") is None
    assert Workspace(tmp_path / "out", {"key": 2}, resume=True).load("backbone/a") is None
    assert not kept.path.exists()  # another run's layers are of no use
