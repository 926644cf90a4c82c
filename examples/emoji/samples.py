"""The samples that are committed with the demo, as data sets: held-out drawings and clips, and
drawings that training saw.

    python examples/emoji/samples.py --data DIR

writes trained/ (two training drawings of each concept in one sheet).

`heldout/` is written by heldout.py, `unmet/` by unmet.py. With them, neither `make demo` nor `make
eval` needs npm or a speech program.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from catalog import ARTISTS, HERE, LICENCES, DataError, load_concepts, load_split, read_json
from dataset import DRAWN, SAMPLES, Emoji
from PIL import Image
from safetensors import safe_open

from nextomni_edge.files import atomic_write

HELDOUT, UNMET, TRAINED = HERE / "heldout", HERE / "unmet", HERE / "trained"
COLUMNS, EACH = 16, 2


def heldout(folder: Path = HELDOUT) -> Emoji:
    """The whole held-out split: drawings by an artist, and clips by a voice, that training never
    met for the concept."""
    entries = read_json(folder / "index.json")
    drawings = [entry for entry in entries if entry["kind"] == "image"]
    clips = [entry for entry in entries if entry["kind"] == "audio"]
    rgba = np.stack(
        [np.asarray(Image.open(folder / entry["file"]).convert("RGBA")) for entry in drawings]
    )
    waves = np.stack([soundfile.read(folder / entry["file"], dtype="int16")[0] for entry in clips])
    return _emoji(rgba, drawings, waves, clips, True)


@functools.cache
def unmet() -> Emoji:
    """A drawing and a clip of every concept by an artist and a synthesiser that training never met
    at all."""
    return heldout(UNMET)


def trained(folder: Path = TRAINED) -> Emoji:
    """Drawings out of the training split, and no clips."""
    entries = read_json(folder / "index.json")
    sheet = np.asarray(Image.open(folder / "drawings.png").convert("RGBA"))
    tiles = sheet.reshape(-1, DRAWN, COLUMNS, DRAWN, 4).swapaxes(1, 2).reshape(-1, DRAWN, DRAWN, 4)
    return _emoji(tiles[: len(entries)], entries, np.zeros((0, SAMPLES), np.int16), [], False)


def _emoji(
    rgba: np.ndarray[Any, np.dtype[np.uint8]],
    drawings: list[dict[str, str]],
    waves: np.ndarray[Any, np.dtype[np.int16]],
    clips: list[dict[str, str]],
    unseen: bool,
) -> Emoji:
    concepts, voices = (
        [concept.name for concept in load_concepts()],
        sorted({clip["voice"] for clip in clips}),
    )
    artists = [*ARTISTS, *sorted({drawn["artist"] for drawn in drawings} - {*ARTISTS})]

    def columns(
        entries: list[dict[str, str]], maker: str, makers: list[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        return {
            "concept": np.asarray(
                [concepts.index(entry["concept"]) for entry in entries], np.int64
            ),
            maker: np.asarray([makers.index(entry[maker]) for entry in entries], np.int64),
            "heldout": np.full(len(entries), unseen, np.uint8),
        }

    return Emoji(
        {"rgba": rgba, **columns(drawings, "artist", artists)},
        {"waveform": waves, **columns(clips, "voice", voices)},
        {"concepts": concepts, "artists": artists, "voices": voices},
    )


def trained_pairs() -> list[tuple[str, str]]:
    """Every (concept, artist) whose drawing is in the training split, by the committed lists
    alone."""
    concepts, skipped = load_concepts(), read_json(HERE / "skip.json")
    split = load_split(concepts)
    pairs = [
        (concept, artist) for concept in concepts for artist in ARTISTS if artist in concept.icons
    ]
    drawn = [
        (concept, artist)
        for concept, artist in pairs
        if concept.icons[artist] not in skipped.get(artist, [])
    ]
    return [
        (concept.name, artist)
        for concept, artist in drawn
        if artist not in split.artists[concept.codepoint]
    ]


def heldout_pairs() -> list[tuple[str, str]]:
    """For each concept an artist whose drawing of it training never saw."""
    concepts = load_concepts()
    split = load_split(concepts)
    return [(concept.name, split.artists[concept.codepoint][0]) for concept in concepts]


def write_trained(data: Path, out: Path) -> None:
    """Choose EACH training drawings of every concept by chance and write them as a sheet with its
    index."""
    with safe_open(str(data / "drawings.safetensors"), framework="np") as file:
        rgba, concept, artist, unseen = (
            file.get_tensor(name) for name in ("rgba", "concept", "artist", "heldout")
        )
    rng, chosen = np.random.default_rng(0), []
    for c in range(len(load_concepts())):
        chosen += sorted(
            rng.choice(np.flatnonzero((concept == c) & (unseen == 0)), EACH, replace=False).tolist()
        )
    tiles = np.where(rgba[chosen][..., 3:] == 0, np.uint8(0), rgba[chosen])
    sheet = (
        tiles.reshape(-1, COLUMNS, DRAWN, DRAWN, 4).swapaxes(1, 2).reshape(-1, COLUMNS * DRAWN, 4)
    )
    picture = io.BytesIO()
    Image.fromarray(sheet, "RGBA").save(picture, "PNG", optimize=True)
    names = [concept.name for concept in load_concepts()]
    makers = [(names[concept[row]], ARTISTS[artist[row]]) for row in chosen]
    entries = [
        {"concept": name, "artist": maker, "licence": LICENCES[maker]} for name, maker in makers
    ]
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / "drawings.png") as file:
        file.write(picture.getvalue())
    with atomic_write(out / "index.json", "w") as file:
        file.write("[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in entries) + "\n]\n")


def main() -> int:
    """Command line; 3 with one line on stderr when the data is not there."""
    parser = argparse.ArgumentParser(
        description="Write the training drawings that are committed with the emoji demo."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder made by prepare.py")
    parser.add_argument("--out", type=Path, default=TRAINED)
    options = parser.parse_args()
    try:
        write_trained(options.data, options.out)
    except (DataError, OSError) as error:
        print(f"samples: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
