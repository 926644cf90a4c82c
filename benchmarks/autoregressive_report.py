"""What the seconds of benchmarks/autoregressive.py say: break-even, the ratio at equal quality, and
how far each claim holds."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

LENGTHS = (16, 64, 256)
FORWARDS = (1, 4)
SAME_BITS = "ar llama.cpp q8_0"
TASKS = {16: "name", 64: "listing", 256: "page"}  # whose quality stands for a length
MEASURES = {
    "not told apart": "fewest_not_told_apart",
    "at least as good": "fewest_at_least_as_good",
}
CLAIMS = {64: 1.2, 256: 2.0}  # at that length, so many times faster than the twin
QUALITY = Path(__file__).resolve().parents[1] / "examples" / "emoji" / "twins.json"


class Line(NamedTuple):
    """Seconds of a flow: once, and for each forward, or each of both parts where an answer has
    two."""

    lead_tokens: int
    once: float
    each: float


class Quality(NamedTuple):
    """How the flow was asked, and its fewest forwards (a part) that were as good as the twin by
    measure; none where none was."""

    lead_tokens: int
    fewest: dict[str, int]


def lines(rows: list[dict[str, Any]], length: int) -> tuple[dict[str, float], dict[str, Line]]:
    """At a length: the twin's median seconds by contender, and the line of each flow."""
    at = [
        row | {"median": statistics.median(row["seconds"])}
        for row in rows
        if row["length"] == length
    ]
    twins = {row["name"]: row["median"] for row in at if row["name"].startswith("ar")}
    flows: dict[str, Line] = {}
    few, many = FORWARDS
    medians = {
        (row["name"], row["policy"], row["lead_tokens"], row["forwards"]): row["median"]
        for row in at
        if "policy" in row
    }
    for name, policy, lead in dict.fromkeys(key[:3] for key in medians):
        slope = (medians[name, policy, lead, many] - medians[name, policy, lead, few]) / (
            many - few
        )
        parts, prompt = (
            ", in two parts" if lead else "",
            {"none": "every time", "prefix": "once"}[policy],
        )
        flows[f"{name}{parts}, prompt {prompt}"] = Line(
            lead, medians[name, policy, lead, few] - few * slope, slope
        )
    return twins, flows


def summary(rows: list[dict[str, Any]], quality: dict[int, Quality]) -> list[dict[str, Any]]:
    """For each length: the twins' seconds, and every flow against each: its break-even, and its
    ratios where it is as good."""
    found = []
    for length in LENGTHS:
        twins, flows = lines(rows, length)
        asked = quality.get(length, Quality(0, {}))
        compared = {
            name: {
                "once_seconds": line.once,
                "seconds_per_forward": line.each,
                "as_asked": line.lead_tokens == asked.lead_tokens,
                "break_even_forwards": {
                    twin: (seconds - line.once) / line.each for twin, seconds in twins.items()
                },
                "ratio": {
                    measure: {
                        twin: seconds / (line.once + n * line.each)
                        for twin, seconds in twins.items()
                    }
                    for measure, n in asked.fewest.items()
                    if line.lead_tokens == asked.lead_tokens
                },
            }
            for name, line in flows.items()
        }
        found.append({"length": length, **asked._asdict(), "twin_seconds": twins, "flow": compared})
    return found


def equal_quality() -> dict[int, Quality]:
    """What examples/emoji/twins.py found, the better of both step rules; empty where nothing was
    measured."""
    if not QUALITY.exists():
        return {}
    tasks = json.loads(QUALITY.read_text(encoding="utf-8"))["tasks"]
    found = {}
    for length, task in TASKS.items():
        if task in tasks:
            fewest = {
                measure: min(tasks[task][key].values())
                for measure, key in MEASURES.items()
                if tasks[task][key]
            }
            found[length] = Quality(tasks[task]["lead_tokens"], fewest)
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: for each length the flows, the fastest first, against the twin of 8 bits and the
    fastest twin."""
    head = (
        "tokens",
        "twin of 8 bits / fastest",
        "flow",
        "forward (a part)",
        "break-even, forwards",
        "n not told apart / at least as good",
        "times faster there",
    )
    rows = [head, ("---:", "---", "---", "---:", "---:", "---:", "---:")]
    for at in found:
        seconds, fewest = at["twin_seconds"], at["fewest"]
        fastest = min(seconds, key=lambda name: seconds[name])
        pair = (SAME_BITS, fastest)
        shown = (
            f"{seconds[SAME_BITS]:.2f} s / {seconds[fastest]:.2f} s ({fastest.removeprefix('ar ')})"
        )
        for name, flow in sorted(
            at["flow"].items(), key=lambda item: item[1]["seconds_per_forward"]
        ):
            even = flow["break_even_forwards"]
            ratios = [
                flow["ratio"][measure][SAME_BITS] if measure in flow["ratio"] else None
                for measure in MEASURES
            ]
            good = [
                str(fewest[measure]) if measure in flow["ratio"] else "–" for measure in MEASURES
            ]
            rows.append((
                str(at["length"]), shown, name.removeprefix("flow "),
                f"{1e3 * flow['seconds_per_forward']:.0f} ms",
                " / ".join(f"{even[twin]:.1f}" for twin in pair), " / ".join(good),
                " / ".join(f"{ratio:.2f}" if ratio else "–" for ratio in ratios),
            ))  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def report(path: Path) -> str:
    """The table and the claims of a run, with the qualities that stand beside it now."""
    found = summary(json.loads(path.read_text(encoding="utf-8"))["rows"], equal_quality())
    return f"{table(found)}\n\n{verdicts(found)}"


def verdicts(found: list[dict[str, Any]]) -> str:
    """A line for each claim: up to how many forwards it holds on the fastest runtime, and whether
    that is enough."""
    lines = []
    for at in found:
        if (factor := CLAIMS.get(at["length"])) is None:
            continue
        seconds = at["twin_seconds"]
        for twin in dict.fromkeys((SAME_BITS, min(seconds, key=lambda name: seconds[name]))):
            held, single = {}, {}
            for prompt in ("every time", "once"):
                flows = [
                    flow
                    for name, flow in at["flow"].items()
                    if flow["as_asked"] and name.endswith(prompt)
                ]
                held[prompt] = max(
                    (seconds[twin] / factor - one["once_seconds"]) / one["seconds_per_forward"]
                    for one in flows
                )
                single[prompt] = max(
                    seconds[twin] / (one["once_seconds"] + one["seconds_per_forward"])
                    for one in flows
                )
            unit = "forwards for each of two parts" if at["lead_tokens"] else "forwards"
            reach = (
                f"{held['every time']:.1f} {unit} (exact), {held['once']:.1f} with the prompt"
                " computed once"
            )
            fastest = (
                f"One is {single['every time']:.1f} times faster, {single['once']:.1f} with the"
                " prompt computed once"
            )
            enough = " ".join(
                _enough(held, measure, at["fewest"].get(measure)) for measure in MEASURES
            )
            claim = f"{at['length']} tokens, {factor} times faster than {twin.removeprefix('ar ')}"
            lines.append(f"- {claim}: up to {reach}. {fastest}. {enough}")
    return "\n".join(lines)


def _enough(held: dict[str, float], measure: str, n: int | None) -> str:
    if n is None:
        return f"{measure.capitalize()}: at no number measured."
    verdict = "it does not hold"
    if held["once"] >= n:
        verdict = (
            "it holds" if held["every time"] >= n else "it holds only with the prompt computed once"
        )
    return f"{measure.capitalize()} from {n}: {verdict}."
