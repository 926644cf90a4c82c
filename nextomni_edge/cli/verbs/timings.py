"""What `bench` prints: every number of each configuration, and single forwards by their rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextomni_edge.measure.timing import Measurement


def forward_results(bundles: tuple[Path, ...], forward: list[dict[int, float]]) -> dict[str, Any]:
    """Seconds of a forward by bundle and rows, the fastest at each size, and the smallest."""
    from nextomni_edge.measure.variants import stored_bytes

    names = [str(bundle) for bundle in bundles]
    sizes = {name: stored_bytes(bundle) for name, bundle in zip(names, bundles, strict=True)}
    fastest = {
        rows: names[min(range(len(names)), key=lambda place: forward[place][rows])]
        for rows in forward[0]
    }
    forward_seconds = dict(zip(names, forward, strict=True))
    return {
        "forward_seconds": forward_seconds,
        "fastest": fastest,
        "bytes": sizes,
        "smallest": min(sizes, key=sizes.__getitem__),
    }


def forward_text(compared: dict[str, Any]) -> str:
    """A line for each size of a forward, and one for the smallest bundle."""
    seconds = compared["forward_seconds"]
    lines = []
    for rows, fastest in compared["fastest"].items():
        times = ", ".join(f"{name} {milliseconds(own[rows])}" for name, own in seconds.items())
        lines.append(f"forward of {rows:>4} rows: {times}; fastest: {fastest}")
    sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in compared["bytes"].items())
    return "\n".join([*lines, f"size: {sizes}; smallest: {compared['smallest']}"])


def results(task: str, measurements: list[Measurement]) -> dict[str, Any]:
    """All numbers, and each configuration against the last, which is the baseline where there is
    one."""
    from nextomni_edge.measure.timing import equal_tokens
    from nextomni_edge.runtimes.machine import Machine

    last = measurements[-1]
    compared = [
        {
            "name": each.configuration.name,
            "speed": speed(each, last),
            "equal_tokens": equal_tokens(each, last),
        }
        for each in measurements[:-1]
    ]
    return {
        "task": task,
        "machine": vars(Machine.here()),
        "configurations": [measurement.to_json() for measurement in measurements],
        "against": last.configuration.name,
        "compared": compared,
    }


def speed(one: Measurement, other: Measurement) -> float:
    """How many times faster than the other."""
    return (other.median("seconds") or 0.0) / (one.median("seconds") or float("inf"))


def table(measurements: list[Measurement]) -> str:
    """A row for each number, a column for each configuration."""
    from nextomni_edge.generate.meter import PARTS, STEP
    from nextomni_edge.measure.timing import equal_tokens

    last = measurements[-1]

    def column(each: Measurement) -> list[str]:
        counts, parts = each.timings[-1].counts, [each.part(name) for name in (*PARTS, STEP)]
        same = equal_tokens(each, last)
        return [
            milliseconds(each.configuration.load_seconds),
            milliseconds(each.median("seconds")),
            milliseconds(each.median("processor_seconds")),
            f"{speed(each, last):.2f}",
            milliseconds(each.median("first_step_seconds")),
            *map(milliseconds, parts),
            f"{counts['forwards']} of {counts['steps']}",
            f"{counts['rows']:,} + {counts['rows_reused']:,} kept",
            f"{counts['jumps']:,}",
            "-" if same is None else f"{same:.1%}",
            told(each.median("peak_bytes"), 2**20, "MiB"),
            told(each.median("joules"), 1.0, "J"),
        ]

    heads = [
        "",
        "load",
        "generation",
        "processor time",
        "times as fast as the last",
        "first step",
        *(f"  step: {name}" for name in PARTS),
        "  step",
    ]
    heads += [
        "forwards of steps",
        "positions computed",
        "sub-codes changed",
        "same tokens as the last",
        "peak memory",
        "energy",
    ]
    columns = [heads, *([each.configuration.name, *column(each)] for each in measurements)]
    widths = [max(map(len, cells)) for cells in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:,.2f} ms"


def told(value: float | None, unit: float, name: str) -> str:
    """A number with its unit, or that the machine does not tell it."""
    return "not told" if value is None else f"{value / unit:,.1f} {name}"
