"""What the seconds of benchmarks/autoregressive.py say: break-even, the ratio at equal quality, and how far each claim holds."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

LENGTHS = (16, 64, 256)
FORWARDS = (2, 8)
SAME_BITS = "ar llama.cpp q8_0"
TASKS = {"16": "name", "64": "listing", "256": "page"}  # whose quality stands for a length
CLAIMS = {64: 1.2, 256: 2.0}  # at that length, so many times faster than the twin
QUALITY = Path(__file__).resolve().parents[1] / "examples" / "emoji" / "twins.json"


def lines(rows: list[dict[str, Any]], length: int) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """At a length: the twin's median seconds by contender, and of each flow (once, per forward) in seconds."""
    at = [row | {"median": statistics.median(row["seconds"])} for row in rows if row["length"] == length]
    twins = {row["name"]: row["median"] for row in at if row["name"].startswith("ar")}
    flows: dict[str, tuple[float, float]] = {}
    few, many = FORWARDS
    medians = {(row["name"], row["policy"], row["forwards"]): row["median"] for row in at if "policy" in row}
    for name, policy in dict.fromkeys(key[:2] for key in medians):
        slope = (medians[name, policy, many] - medians[name, policy, few]) / (many - few)
        prompt = {"none": "every time", "prefix": "once"}[policy]
        flows[f"{name}, prompt {prompt}"] = medians[name, policy, few] - few * slope, slope
    return twins, flows


def summary(rows: list[dict[str, Any]], quality: dict[str, int]) -> list[dict[str, Any]]:
    """For each length: the twins' seconds, and every flow against each: its break-even and its ratio at equal quality."""
    found = []
    for length in LENGTHS:
        twins, flows = lines(rows, length)
        n = quality.get(str(length))
        compared = {
            name: {
                "once_seconds": once, "seconds_per_forward": each,
                "break_even_forwards": {twin: (seconds - once) / each for twin, seconds in twins.items()},
                "ratio_at_equal_quality": {twin: seconds / (once + n * each) for twin, seconds in twins.items()} if n else {},
            }
            for name, (once, each) in flows.items()
        }  # fmt: skip
        found.append({"length": length, "forwards_at_equal_quality": n, "twin_seconds": twins, "flow": compared})
    return found


def equal_quality() -> dict[str, int]:
    """Forwards as good as the twin, by length; without a length where none was, empty where nothing was measured."""
    if not QUALITY.exists():
        return {}
    tasks = json.loads(QUALITY.read_text(encoding="utf-8"))["tasks"]
    fewest = {task: min(found["fewest_at_least_as_good"].values(), default=None) for task, found in tasks.items()}
    return {length: n for length, task in TASKS.items() if (n := fewest.get(task)) is not None}


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: for each length the flows, the fastest first, against the twin of 8 bits and the fastest twin."""
    head = (
        "tokens",
        "twin of 8 bits / fastest",
        "flow",
        "forward",
        "break-even, forwards",
        "n at equal quality",
        "times faster there",
    )
    rows = [head, ("---:", "---", "---", "---:", "---:", "---:", "---:")]
    for at in found:
        seconds, n = at["twin_seconds"], at["forwards_at_equal_quality"]
        fastest = min(seconds, key=lambda name: seconds[name])
        pair = (SAME_BITS, fastest)
        shown = f"{seconds[SAME_BITS]:.2f} s / {seconds[fastest]:.2f} s ({fastest.removeprefix('ar ')})"
        for name, flow in sorted(at["flow"].items(), key=lambda item: item[1]["seconds_per_forward"]):
            even, ratio = flow["break_even_forwards"], flow["ratio_at_equal_quality"]
            rows.append((
                str(at["length"]), shown, name.removeprefix("flow "), f"{1e3 * flow['seconds_per_forward']:.0f} ms",
                " / ".join(f"{even[twin]:.1f}" for twin in pair), str(n or "none"),
                " / ".join(f"{ratio[twin]:.2f}" for twin in pair) if n else "–",
            ))  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def report(path: Path) -> str:
    """The table and the claims of a run, with the qualities that stand beside it now."""
    found = summary(json.loads(path.read_text(encoding="utf-8"))["rows"], equal_quality())
    return f"{table(found)}\n\n{verdicts(found)}"


def verdicts(found: list[dict[str, Any]]) -> str:
    """A line for each claim: up to how many forwards it holds on the fastest runtime, and whether that is enough."""
    lines = []
    for at in found:
        if (factor := CLAIMS.get(at["length"])) is None:
            continue
        seconds, n = at["twin_seconds"], at["forwards_at_equal_quality"]
        for twin in dict.fromkeys((SAME_BITS, min(seconds, key=lambda name: seconds[name]))):
            held = {
                prompt: max(
                    (seconds[twin] / factor - flow["once_seconds"]) / flow["seconds_per_forward"]
                    for name, flow in at["flow"].items() if name.endswith(prompt)
                )
                for prompt in ("every time", "once")
            }  # fmt: skip
            reach = f"{held['every time']:.1f} forwards (exact), {held['once']:.1f} with the prompt computed once"
            enough = "no number measured was as good" if n is None else f"{n} are as good: {_holds(held, n)}"
            lines.append(
                f"- {at['length']} tokens, {factor} times faster than {twin.removeprefix('ar ')}: up to {reach}; {enough}."
            )
    return "\n".join(lines)


def _holds(held: dict[str, float], n: int) -> str:
    if held["every time"] >= n:
        return "it holds"
    return "it holds with the prompt computed once alone" if held["once"] >= n else "it does not hold"
