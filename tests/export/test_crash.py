"""Killed at any moment, an export leaves the old bundle or none, and the next one succeeds."""

from __future__ import annotations

import functools
import random
import time
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.export import export_bundle
from tests.full_disk import fill
from tests.killed import killed

KILLS = 10
COMPONENT = ["embed_text"]  # traces fastest, so that kills fall into the writing too


@pytest.mark.small_disk(400)
def test_a_full_disk_leaves_the_old_bundle(small_disk: Path, tiny_checkpoint: Path) -> None:
    out = small_disk / "bundle"
    export_bundle(tiny_checkpoint, out, components=COMPONENT, verify="none")
    before, ballast = (out / "manifest.json").read_bytes(), fill(small_disk)
    for target in (out, small_disk / "fresh"):
        with pytest.raises(
            UsageError, match=r"cannot be written \(No space left on device\); free some space"
        ):
            export_bundle(
                tiny_checkpoint, target, components=COMPONENT, verify="none", overwrite=True
            )
    assert (out / "manifest.json").read_bytes() == before and sorted(small_disk.iterdir()) == [
        ballast,
        out,
    ]
    ballast.unlink()
    export_bundle(tiny_checkpoint, out, components=COMPONENT, verify="none", overwrite=True)
    Bundle.open(out)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("old", [False, True])
def test_a_killed_export_leaves_the_old_bundle_or_none(
    old: bool, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out, chance = tmp_path / "bundle", random.Random(0)
    started = time.monotonic()
    export_bundle(tiny_checkpoint, out if old else tmp_path / "aside", components=COMPONENT)
    duration = time.monotonic() - started
    before = (out / "manifest.json").read_bytes() if old else None
    again, kills = (
        functools.partial(
            export_bundle, tiny_checkpoint, out, components=COMPONENT, overwrite=True
        ),
        0,
    )
    for _ in range(KILLS):
        kills += killed(again, chance.uniform(0.0, duration))
        if out.exists():
            Bundle.open(out)
            assert before is not None or (out / "golden.safetensors").exists()
        else:
            assert not old
    assert kills > 0
    again()
    Bundle.open(out)
    left = {path.name for path in tmp_path.iterdir()} - {"aside"}
    assert left == {"bundle"}
