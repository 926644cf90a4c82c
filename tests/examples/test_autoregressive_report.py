"""What the comparison with the twin concludes from seconds, and the projection's arithmetic."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import autoregressive_report as report  # noqa: E402
import performance_page  # noqa: E402
import projection  # noqa: E402
from autoregressive_report import Quality  # noqa: E402

from nextomni_edge.measure.devices import Device  # noqa: E402


def rows(token: float, once: float, each: float) -> list[dict[str, Any]]:
    """A twin of so many seconds a token, and a flow of so many once and for each forward; the
    middle of three is right.

    In two parts a forward takes twice as long.
    """
    found: list[dict[str, Any]] = []
    for length in report.LENGTHS:
        for name, seconds in ((report.SAME_BITS, length * token), ("ar other", 2 * length * token)):
            found.append({"name": name, "length": length, "seconds": [9.0, seconds, 0.0]})
        for policy, lead, n in itertools.product(("none", "prefix"), (0, 4), report.FORWARDS):
            asked = {
                "name": "flow fast",
                "length": length,
                "policy": policy,
                "lead_tokens": lead,
                "forwards": n,
            }
            found.append(asked | {"seconds": [9.0, once + n * each * (2 if lead else 1), 0.0]})
    return found


def test_break_even_and_ratio_are_those_of_the_line() -> None:
    found = report.summary(rows(0.05, 0.2, 0.3), {64: Quality(0, {"at least as good": 8})})
    at = next(one for one in found if one["length"] == 64)
    flow = at["flow"]["flow fast, prompt every time"]
    assert flow["seconds_per_forward"] == pytest.approx(0.3) and flow[
        "once_seconds"
    ] == pytest.approx(0.2)
    assert flow["break_even_forwards"][report.SAME_BITS] == pytest.approx((3.2 - 0.2) / 0.3)
    assert flow["ratio"] == {
        "at least as good": {
            report.SAME_BITS: pytest.approx(3.2 / 2.6),
            "ar other": pytest.approx(6.4 / 2.6),
        }
    }
    assert not at["flow"]["flow fast, in two parts, prompt every time"]["ratio"], (
        "the number is of answers all at once"
    )
    assert not found[0]["flow"]["flow fast, prompt once"]["ratio"], (
        "nothing was as good at 16 tokens"
    )
    assert "| – / 8 | – / 1.23 |" in report.table(found)


@pytest.mark.parametrize(
    ("n", "said"),
    [(8, " from 8: it holds"), (9, " from 9: it does not hold"), (None, ": at no number measured")],
)
def test_a_claim_holds_up_to_its_number_of_forwards(n: int | None, said: str) -> None:
    """3.2 s / 1.2 = 2.667 s: 8.2 forwards of 0.3 s after 0.2 s."""
    found = report.summary(
        rows(0.05, 0.2, 0.3), {} if n is None else {64: Quality(0, {"not told apart": n})}
    )
    line = report.verdicts(found).splitlines()[0]
    assert line.startswith(
        "- 64 tokens, 1.2 times faster than llama.cpp q8_0: up to 8.2 forwards (exact), 8.2"
    )
    assert line.endswith(f". Not told apart{said}. At least as good: at no number measured.")


def test_answers_in_two_parts_are_held_to_their_own_line() -> None:
    """3.2 s / 1.2 = 2.667 s: 4.1 times twice 0.3 s after 0.2 s."""
    found = report.summary(rows(0.05, 0.2, 0.3), {64: Quality(4, {"not told apart": 4})})
    line = report.verdicts(found).splitlines()[0]
    assert (
        "up to 4.1 forwards for each of two parts (exact), 4.1 with" in line
        and ". Not told apart from 4: it holds." in line
    )


def test_the_number_at_equal_quality_is_the_fewest_of_either_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "twins.json"
    monkeypatch.setattr(report, "QUALITY", path)
    assert report.equal_quality() == {}
    apart, good = report.MEASURES.values()
    tasks = {
        "name": {"lead_tokens": 0, apart: {"euler": 4, "corrected": 3}, good: {}},
        "listing": {"lead_tokens": 4, apart: {}, good: {"euler": 2}},
    }
    path.write_text(json.dumps({"tasks": tasks}))
    assert report.equal_quality() == {
        16: Quality(0, {"not told apart": 3}),
        64: Quality(4, {"at least as good": 2}),
    }


def test_where_bytes_decide_the_flow_breaks_even_at_the_number_of_tokens() -> None:
    network = projection.NETWORKS[1]
    assert network.backbone == pytest.approx(6.53e9, rel=1e-3), "Qwen2.5-7B without its tables"
    fast = Device("fast", 10**12, 0, 1e12, {"int8": 1e18}, "")
    assert projection.break_even(fast, network, 8, 64, once=False) == pytest.approx(64, rel=0.01)
    slow = Device("slow", 10**12, 0, 1e18, {"int8": 1e12}, "")
    assert projection.break_even(slow, network, 8, 64, once=False) < 2, (
        "where operations decide, rows cost what they are"
    )


def test_every_table_of_the_page_is_as_its_numbers_say() -> None:
    page = performance_page.PAGE.read_text(encoding="utf-8")
    assert performance_page.filled(page) == page, "run python benchmarks/performance_page.py"
    with pytest.raises(SystemExit, match="0 places for the table"):
        performance_page.filled("no place")
