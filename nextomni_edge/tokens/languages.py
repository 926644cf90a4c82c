"""The languages that OmniVoice speaks, by name and by code."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from importlib.resources import files

from nextomni_edge.errors import UsageError


@functools.cache
def names() -> Mapping[str, str]:
    """The code of each language by its English name, in lower case."""
    table = files("nextomni_edge.tokens").joinpath("languages.tsv").read_text("utf-8")
    rows = [line.partition("\t") for line in table.splitlines() if not line.startswith("#")]
    return {name: known for name, _, known in rows}


def code(language: str) -> str | None:
    """The code of a language that is given by name or by code; None of "none". UsageError: an
    unknown one, with the nearest name."""
    asked, known = language.strip(), names()
    lower = asked.lower()
    if lower == "none":
        return None
    if asked in known.values():
        return asked
    if lower in known:
        return known[lower]
    if lower in known.values():
        return lower
    near = difflib.get_close_matches(lower, [*known, *known.values()], 1)
    hint = f"did you mean {near[0]!r}?" if near else "expected a name or a code, such as English"
    raise UsageError(f"language {asked[:40]!r}: this model does not speak it; {hint}")
