"""The committed description of the emoji data: concepts, artists, the held-out split.

Everything that reads `concepts.json`, `split.json` or `skip.json` does it through here, so that a
mistake in one of them is told once, in one line, before any long work starts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextomni_edge.errors import InputError

HERE = Path(__file__).resolve().parent

ARTISTS = ("noto", "noto-v1", "twemoji", "emojione", "fxemoji", "fluent-emoji-flat", "fluent-emoji")
"""Icon sets in the order of the `artist` column."""

FAMILIES: tuple[tuple[str, ...], ...] = (
    ("noto",),
    ("noto-v1",),
    ("twemoji",),
    ("emojione",),
    ("fxemoji",),
    ("fluent-emoji-flat", "fluent-emoji"),
)
"""Artists that must be held out together: the two fluent sets share their shapes."""

LICENCES = {
    "noto": "Apache-2.0",
    "noto-v1": "Apache-2.0",
    "twemoji": "CC-BY-4.0",
    "emojione": "CC-BY-4.0",
    "fxemoji": "Apache-2.0",
    "fluent-emoji-flat": "MIT",
    "fluent-emoji": "MIT",
    # only measured with
    "openmoji": "CC-BY-SA-4.0",
}


class DataError(InputError):
    """The data or its description is not usable; the message is one line for the user."""


@dataclass(frozen=True)
class Concept:
    """One thing that is drawn and spoken: a Unicode code point under a short English name."""

    codepoint: str
    name: str
    category: str
    tags: tuple[str, ...]
    icons: dict[str, str]


@dataclass(frozen=True)
class Split:
    """What training never sees: per code point the held-out artists, and one voice for all
    names."""

    artists: dict[str, tuple[str, ...]]
    voice: str


def read_json(path: Path) -> Any:
    """Parse a JSON file, or raise a one-line DataError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path.name} is missing") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path.name} is not JSON: {error}") from None


def load_concepts(path: Path = HERE / "concepts.json") -> list[Concept]:
    """The concepts in the order of the `concept` column; names and code points are unique."""
    concepts = []
    for row in read_json(path):
        try:
            concept = Concept(
                row["codepoint"],
                row["name"],
                row["category"],
                tuple(row["tags"]),
                dict(row["icons"]),
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"{path.name}: a concept lacks {error}") from None
        unknown = set(concept.icons) - set(ARTISTS)
        if unknown:
            raise DataError(f"{path.name}: {concept.name} has unknown artists {sorted(unknown)}")
        concepts.append(concept)
    for what, values in (
        ("name", [c.name for c in concepts]),
        ("code point", [c.codepoint for c in concepts]),
    ):
        doubled = sorted({value for value in values if values.count(value) > 1})
        if doubled:
            raise DataError(f"{path.name}: {what} used twice: {', '.join(doubled)}")
    return concepts


def load_split(concepts: list[Concept], path: Path = HERE / "split.json") -> Split:
    """The held-out split, checked to name one whole artist family for every concept."""
    raw = read_json(path)
    artists = {codepoint: tuple(names) for codepoint, names in raw["artists"].items()}
    if set(artists) != {concept.codepoint for concept in concepts}:
        raise DataError(f"{path.name} and concepts.json do not hold the same code points")
    for concept in concepts:
        held = set(artists[concept.codepoint])
        families = [{a for a in family if a in concept.icons} for family in FAMILIES]
        if held not in [family for family in families if family]:
            raise DataError(
                f"{path.name}: {concept.name} must hold out one whole artist family, not"
                f" {sorted(held)}"
            )
    return Split(artists, str(raw["voice"]))


def fingerprint(*parts: object) -> str:
    """A digest of JSON-like values, kept in the data files to tell whether they are up to date."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
