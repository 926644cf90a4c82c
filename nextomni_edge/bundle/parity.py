"""What a bundle's manifest says was compared when the bundle was made, in a few lines.

A manifest is a file of somebody else's: what is not as expected in it is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

MOST: Final = 3  # components whose errors are named


def parity_lines(parity: Mapping[str, object] | None) -> Iterator[str]:
    """How the bundle was checked, how much of it, and the largest errors."""
    check = (parity or {}).get("check")
    if parity is None or check not in ("full", "golden"):
        yield "parity: not checked when it was made (--verify none)"
        return
    how = (
        f"compared with {parity.get('against')}"
        if check == "full"
        else "recorded from its own graphs, compared with nothing"
    )
    yield f"parity: {how}, on {parity.get('runtime')}"
    tasks, components = (_results(parity, name) for name in ("tasks", "components"))
    margins = [
        margin
        for task in tasks.values()
        if (margin := _number(task, "smallest_margin")) is not None
    ]
    smallest = f", smallest margin {min(margins):.1e}" if margins else ""
    steps, draws = (
        round(sum(_number(task, name) or 0.0 for task in tasks.values()))
        for name in ("steps", "draws")
    )
    yield (
        f"  {len(tasks)} generations, {steps:,} steps, {draws:,} draws, {_ties(tasks)} near"
        f" ties{smallest}"
    )
    codes = round(sum(_number(part, "codes") or 0.0 for part in components.values()))
    errors = sorted(
        ((_number(part, "error") or 0.0, name) for name, part in components.items()), reverse=True
    )
    if check == "full":
        named = ", ".join(f"{error:.1e} ({name})" for error, name in errors[:MOST])
        yield (
            f"  {len(components)} components, {codes:,} codes, {_ties(components)} near ties,"
            f" largest errors of an output's scale: {named}"
        )
    skipped = parity.get("skipped")
    if isinstance(skipped, Mapping):
        yield from (f"  not run: {name}: {reason}" for name, reason in skipped.items())


def _results(parity: Mapping[str, object], name: str) -> dict[str, Mapping[str, object]]:
    found = parity.get(name)
    if not isinstance(found, Mapping):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, Mapping)}


def _number(result: Mapping[str, object], name: str) -> float | None:
    value = result.get(name)
    return float(value) if isinstance(value, int | float) else None


def _ties(results: Mapping[str, Mapping[str, object]]) -> int:
    found = [result.get("near_ties") for result in results.values()]
    return sum(len(ties) for ties in found if isinstance(ties, list))
