"""Write the inputs by makers that training never meets at all: an artist's drawing and a
synthesiser's clip of every concept.

    python examples/emoji/unmet.py --work DIR

Writes `unmet/` next to this file, in the form of `heldout/`. Nothing here is trained on:
`make eval` only measures with it. Needs node with npm, the program festival with the voice of
the Debian package festvox-kdlpc16k, and the Python packages of requirements.txt.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from catalog import LICENCES, Concept, DataError, load_concepts, read_json
from heldout import file_name, flac_bytes, png_bytes, write_index
from prepare import SIZE, install_packages, render_job, write_atomic
from samples import UNMET
from speech import UNMET_VOICE, speak

ARTIST = "openmoji"
VOICE_LICENCE = "Centre for Speech Technology Research licence (MIT-like)"


def icon_of(concept: Concept, icons: set[str]) -> str:
    """The artist's icon of a concept, under one of the names that the other artists give it."""
    named = [name for name in concept.icons.values() if name in icons]
    if not named:
        raise DataError(f"{ARTIST} has no drawing of {concept.name}")
    return named[0]


def write_drawings(work: Path, out: Path, concepts: list[Concept]) -> list[dict[str, str]]:
    """One drawing of every concept."""
    install_packages(work / "npm")
    found = read_json(work / "npm" / "node_modules" / "@iconify-json" / ARTIST / "icons.json")
    icons = {*found["icons"], *found.get("aliases", {})}
    items = [
        {"key": concept.codepoint, "artist": ARTIST, "icon": icon_of(concept, icons)}
        for concept in concepts
    ]
    entries = [
        {
            "kind": "image",
            "concept": concept.name,
            "file": file_name(concept, f"{ARTIST}.png"),
            "artist": ARTIST,
            "licence": LICENCES[ARTIST],
        }
        for concept in concepts
    ]
    for entry, file in zip(entries, render_job(work, items, lambda done, total: None), strict=True):
        rgba = np.fromfile(file, np.uint8).reshape(SIZE, SIZE, 4)
        write_atomic(out / entry["file"], png_bytes(rgba))
    return entries


def write_clips(out: Path, concepts: list[Concept]) -> list[dict[str, str]]:
    """Every name at the voice's usual pace."""
    entries = []
    for concept in concepts:
        name = file_name(concept, f"{UNMET_VOICE.name}.flac")
        write_atomic(out / name, flac_bytes(speak(UNMET_VOICE, 1.0, concept.name)))
        entries.append(
            {
                "kind": "audio",
                "concept": concept.name,
                "file": name,
                "voice": UNMET_VOICE.name,
                "licence": VOICE_LICENCE,
            }
        )
    return entries


def main() -> int:
    """Command line; 3 with one line on stderr when a program or a package is missing."""
    parser = argparse.ArgumentParser(description="Write the inputs by makers never met.")
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and parts")
    parser.add_argument("--out", type=Path, default=UNMET)
    options = parser.parse_args()
    try:
        concepts = load_concepts()
        entries = write_drawings(options.work, options.out, concepts)
        entries += write_clips(options.out, concepts)
        write_index(options.out, entries)
    except (DataError, OSError) as error:
        print(f"unmet: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
