"""Mixed bits: the path of steps, and a whole bundle within its budget or its bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.quantize import total_bytes
from nextomni_edge.calibration.recipes.config import Mixed
from nextomni_edge.calibration.recipes.mixed import Choice, path
from nextomni_edge.errors import UsageError


def test_the_cheapest_divergence_per_byte_goes_first() -> None:
    choices = {
        "robust": [Choice(400, 0.0), Choice(100, 0.001), Choice(50, 0.002)],
        "frail": [Choice(400, 0.0), Choice(100, 0.010), Choice(50, 5.0)],
        "small": [Choice(40, 0.0), Choice(10, 0.001)],
    }
    steps = path(choices)
    # robust: 3.3e-6 a byte, then 2e-5; frail: 3.3e-5, then 0.1; small: 3.3e-5
    assert [(step.layer, step.choice.bytes) for step in steps] == [
        ("robust", 100), ("robust", 50), ("frail", 100), ("small", 10), ("frail", 50),
    ]  # fmt: skip


def test_a_choice_that_saves_nothing_is_never_taken() -> None:
    assert path({"tiny": [Choice(10, 0.0), Choice(12, 0.0)]}) == []


def test_a_layer_may_skip_the_middle() -> None:
    """8 bits cost this layer more than 4: it goes to 4 at once."""
    steps = path({"odd": [Choice(400, 0.0), Choice(100, 0.5), Choice(50, 0.001)]})
    assert [step.choice.bytes for step in steps] == [50]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_bundle_within_its_budget_and_one_within_its_bound(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError,
        match=r"a budget of 1,000 bytes cannot be met: the smallest possible bundle has [0-9,]+$",
    ) as caught:
        quantize(tiny_bundle, tmp_path / "out", Mixed(budget_bytes=1000))
    assert [path.name for path in tmp_path.iterdir()] == []
    smallest = int(str(caught.value).rsplit(" ", 1)[1].replace(",", ""))
    whole = total_bytes(Bundle.open(tiny_bundle))
    budget = (smallest + whole) // 2
    report = quantize(tiny_bundle, tmp_path / "budget", Mixed(budget_bytes=budget))
    assert report.bytes <= budget
    inside = {
        name: decision
        for name, decision in report.decisions.items()
        if not name.split("/")[0].endswith("coder")
    }
    assert all(
        decision.divergence is not None and decision.divergence >= 0 for decision in inside.values()
    )

    bound = quantize(tiny_bundle, tmp_path / "bound", Mixed(max_kl=0.01))
    assert bound.divergence is not None and bound.divergence <= 0.01
    assert {decision.bits for decision in bound.decisions.values()} == {4, 8}

    flips = quantize(tiny_bundle, tmp_path / "flips", Mixed(max_flips=0.02))
    assert flips.flips is not None and flips.flips <= 0.02 and flips.bytes < whole
