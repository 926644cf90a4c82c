"""Timing: what is timed, in which order, and that the numbers add up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.errors import UsageError
from nextomni_edge.generate.meter import PARTS, STEP
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.measure import timing as bench
from nextomni_edge.measure.timing import Configuration, chrome_trace, equal_tokens, measure, timed
from nextomni_edge.tokens.chat import Kind
from tests.generate.fake import Fake


def configuration(
    tmp_path: Path, kind: Kind = "image", name: str = "one", **given: Any
) -> Configuration:
    fake = Fake(tmp_path)
    return Configuration(
        name,
        fake.model,
        fake.ask(kind),
        GenerationOptions.defaults(fake.config, kind, **given),
        0.5,
    )


def test_parts_are_within_their_steps_and_steps_within_the_whole(tmp_path: Path) -> None:
    timing = timed(configuration(tmp_path, steps=6, kv_cache="none"), 0)
    assert len(timing.steps) == 6 and timing.counts["forwards"] == 5
    assert all(timing.parts[name] > 0.0 for name in ("embed", "backbone", "head", "draw", "flow"))
    assert (
        sum(timing.parts[name] for name in PARTS if name != "embed")
        < timing.parts[STEP]
        <= timing.seconds
    )
    assert sum(timing.steps) == pytest.approx(timing.parts[STEP])
    assert 0.0 < timing.first_step_seconds < timing.seconds


def test_the_first_step_is_the_first_that_predicts(tmp_path: Path) -> None:
    """At t = 0 Euler asks for no forward, so that step takes next to nothing."""
    timing = timed(configuration(tmp_path, steps=6), 0)
    assert timing.steps[0] < 0.1 * timing.steps[1] < timing.first_step_seconds


def test_configurations_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    one = configuration(tmp_path, steps=2)
    two = dataclasses.replace(one, name="two")
    plain = bench.timed

    def watched(given: Configuration, repeat: int) -> bench.Timing:
        order.append(f"{given.name} {repeat}")
        return plain(given, repeat)

    monkeypatch.setattr(bench, "timed", watched)
    measure([one, two], repeats=3, warm_up=1)
    assert order == ["one 0", "two 0", "one 0", "two 0", "two 1", "one 1", "one 2", "two 2"]


def test_every_repeat_has_its_own_seed_and_both_have_the_same(tmp_path: Path) -> None:
    one = configuration(tmp_path, steps=4)
    shortcut, plain = measure(
        [one, dataclasses.replace(one, options=one.options.plain())], repeats=2
    )
    assert equal_tokens(shortcut, plain) == 1.0
    assert not np.array_equal(shortcut.timings[0].tokens, shortcut.timings[1].tokens)
    assert plain.timings[0].counts["forwards"] == 4 and shortcut.timings[0].counts["forwards"] == 3


def test_tokens_of_different_numbers_are_not_compared(tmp_path: Path) -> None:
    image, text = (configuration(tmp_path, kind, steps=2) for kind in ("image", "text"))
    assert equal_tokens(*measure([image, text], repeats=1)) is None


def test_what_the_machine_does_not_tell_is_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "RESET_PEAK", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(bench, "POWERCAP", tmp_path)
    (found,) = measure([configuration(tmp_path, steps=2)], repeats=1, warm_up=0)
    assert found.to_json()["peak_bytes"] is None and found.to_json()["joules"] is None


def test_energy_is_the_difference_of_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in (0, 1):
        (tmp_path / f"intel-rapl:{package}").mkdir()
        (tmp_path / f"intel-rapl:{package}" / "energy_uj").write_text(f"{package + 1}500000\n")
    monkeypatch.setattr(bench, "POWERCAP", tmp_path)
    assert bench._joules() == pytest.approx(4.0)
    assert timed(configuration(tmp_path, steps=2), 0).joules == 0.0


@pytest.mark.skipif(
    not bench.RESET_PEAK.exists(), reason="the peak of a process is told by Linux alone"
)
def test_the_peak_is_that_of_the_run(tmp_path: Path) -> None:
    one = configuration(tmp_path, steps=2)
    before = timed(one, 0).peak_bytes
    held = np.ones(1 << 25)  # 256 MiB
    during = timed(one, 0).peak_bytes
    assert held.sum() > 0 and before is not None and during is not None
    del held
    after = timed(one, 0).peak_bytes
    assert after is not None and during - max(before, after) > 200 << 20


def test_the_trace_holds_every_part_of_every_run(tmp_path: Path) -> None:
    measurements = measure([configuration(tmp_path, steps=3)], repeats=2)
    events = chrome_trace(measurements)["traceEvents"]
    assert events[0] == {
        "name": "process_name",
        "ph": "M",
        "pid": 1,
        "tid": 1,
        "args": {"name": "one"},
    }
    steps = [event for event in events if event["name"] == STEP]
    assert len(steps) == 2 * 3 and all(
        event["ph"] == "X" and event["dur"] >= 0.0 for event in steps
    )
    inside = [event for event in events if event["name"] == "backbone"]
    assert len(inside) == 2 * 2
    for event in inside:
        assert any(
            s["ts"] <= event["ts"] and event["ts"] + event["dur"] <= s["ts"] + s["dur"]
            for s in steps
        )


@pytest.mark.parametrize(("repeats", "warm_up"), [(0, 1), (1, -1)])
def test_nothing_to_repeat_is_refused(repeats: int, warm_up: int) -> None:
    with pytest.raises(UsageError, match="expected at least 1 and 0"):
        measure([], repeats, warm_up)
