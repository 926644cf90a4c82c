"""Write the held-out inputs that are committed with the demo: every drawing and every clip of the
held-out split.

    python examples/emoji/heldout.py --data DIR

Reads what prepare.py made and writes `heldout/` beside this file: CODEPOINT_name_artist.png (64 x
64 RGBA), CODEPOINT_name_voice_pace.flac (16 kHz mono; 0 is the slowest) and index.json, which gives
each file's concept, maker and licence. Neither the demo nor `make eval` needs more.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from catalog import (
    ARTISTS,
    HERE,
    LICENCES,
    Concept,
    DataError,
    Split,
    load_concepts,
    load_split,
    read_json,
)
from PIL import Image
from prepare import write_atomic
from safetensors import safe_open
from speech import RATE, VOICES

FLITE_LICENCE = "CMU Flite licence (MIT-like)"


def png_bytes(rgba: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """A drawing (64,64,4) as a PNG; fully clear pixels become black, which packs better and shows
    the same."""
    visible = np.where(rgba[..., 3:] == 0, np.uint8(0), rgba)
    file = io.BytesIO()
    Image.fromarray(visible, "RGBA").save(file, "PNG", optimize=True)
    return file.getvalue()


def flac_bytes(wave: np.ndarray[Any, np.dtype[np.int16]]) -> bytes:
    """A clip (20480,) as 16 kHz FLAC, lossless."""
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
    return file.getvalue()


def write_drawings(
    data: Path, out: Path, concepts: list[Concept], split: Split
) -> list[dict[str, str]]:
    """Write the held-out drawings: one per concept, or both of the fluent pair."""
    with safe_open(str(data / "drawings.safetensors"), framework="np") as file:
        rgba, concept, artist = (file.get_tensor(name) for name in ("rgba", "concept", "artist"))
    entries = []
    for c, item in enumerate(concepts):
        for maker in split.artists[item.codepoint]:
            rows = np.flatnonzero((concept == c) & (artist == ARTISTS.index(maker)))
            if len(rows) != 1:
                raise DataError(f"no drawing of {item.name} by {maker}; run prepare.py again")
            name = file_name(item, f"{maker}.png")
            write_atomic(out / name, png_bytes(rgba[rows[0]]))
            entries.append(
                {
                    "kind": "image",
                    "concept": item.name,
                    "file": name,
                    "artist": maker,
                    "licence": LICENCES[maker],
                }
            )
    return entries


def write_clips(
    data: Path, out: Path, concepts: list[Concept], split: Split
) -> list[dict[str, str]]:
    """Write every concept's clips by the held-out voice, one for each pace."""
    with safe_open(str(data / "speech.safetensors"), framework="np") as file:
        wave, concept, voice = (file.get_tensor(name) for name in ("waveform", "concept", "voice"))
    number = [voice.name for voice in VOICES].index(split.voice)
    entries = []
    for c, item in enumerate(concepts):
        rows = np.flatnonzero((concept == c) & (voice == number))
        if len(rows) == 0:
            raise DataError(f"no clip of {item.name} by {split.voice}; run prepare.py again")
        for pace, row in enumerate(rows):
            name = file_name(item, f"{split.voice}_{pace}.flac")
            write_atomic(out / name, flac_bytes(wave[row]))
            entries.append(
                {
                    "kind": "audio",
                    "concept": item.name,
                    "file": name,
                    "voice": split.voice,
                    "licence": FLITE_LICENCE,
                }
            )
    return entries


def file_name(concept: Concept, rest: str) -> str:
    return f"{concept.codepoint}_{concept.name.replace(' ', '-')}_{rest}"


def write_index(out: Path, entries: list[dict[str, str]]) -> None:
    """A line for each file: its concept, maker and licence."""
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    write_atomic(out / "index.json", f"[\n{lines}\n]\n".encode())


def remove_stale(out: Path, kept: set[str]) -> None:
    """Delete what an earlier index lists and this one does not: nothing else in the folder is ours
    to delete."""
    index = out / "index.json"
    for entry in read_json(index) if index.exists() else []:
        name = Path(entry["file"]).name
        if name not in kept:
            (out / name).unlink(missing_ok=True)


def main() -> int:
    """Command line; 3 with one line on stderr when the data is not there."""
    parser = argparse.ArgumentParser(description="Write the held-out inputs of the emoji demo.")
    parser.add_argument("--data", type=Path, required=True, help="folder made by prepare.py")
    parser.add_argument("--out", type=Path, default=HERE / "heldout")
    options = parser.parse_args()
    try:
        concepts = load_concepts()
        split = load_split(concepts)
        entries = write_drawings(options.data, options.out, concepts, split)
        entries += write_clips(options.data, options.out, concepts, split)
        remove_stale(options.out, {entry["file"] for entry in entries})
        write_index(options.out, entries)
    except (DataError, OSError) as error:
        print(f"heldout: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
