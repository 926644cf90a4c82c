"""Write the prompts that the demo is calibrated with, over drawings and clips of the training
split, and those of its report.

    python examples/emoji/calibration_prompts.py --data DIR
    python examples/emoji/calibration_prompts.py --heldout

Reads what prepare.py made and writes `calibration/` beside this file: prompts.jsonl, the media that
it names, and index.json with the maker and the licence of each. What is held out is not in it.
`--heldout` writes heldout/prompts.jsonl over the committed held-out files instead, which a report
of variants is measured on. The demo needs no more:

    nextomni-edge calibrate demo/bundle --prompts examples/emoji/calibration -o demo/calibration
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
from catalog import HERE, LICENCES, DataError, read_json
from dataset import Emoji
from numpy.typing import NDArray
from PIL import Image
from poses import MOTIONS
from prepare import write_atomic
from prompts import (
    FRAMES,
    GENERATION_VOICES,
    WHAT_HAPPENS,
    WHAT_IS_THIS,
    WHAT_WAS_SAID,
    draw_prompt,
    film_prompt,
    say_prompt,
)
from samples import HELDOUT
from speech import RATE

EACH = 16  # prompts of each task
VOICE_LICENCES = {
    "flite": "CMU Flite licence (MIT-like)",
    "espeak": "output of espeak-ng",
    "hibari": "Apache-2.0",
}


class Pool:
    """One drawing and one clip of each of EACH concepts, all of the training split, written as
    files."""

    def __init__(self, emoji: Emoji, out: Path, rng: np.random.Generator) -> None:
        self.emoji, self.out, self.index = emoji, out, list[dict[str, str]]()
        self.concepts = rng.permutation(len(emoji.concepts))[:EACH]
        self.drawings = [int(rng.choice(emoji.drawings(c))) for c in self.concepts]
        self.clips = [int(rng.choice(emoji.clips_of(c))) for c in self.concepts]
        self.names = [emoji.concepts[c] for c in self.concepts]
        self.artists = [emoji.artists[emoji.drawing_artist[row]] for row in self.drawings]
        self.voices = [GENERATION_VOICES[i % len(GENERATION_VOICES)] for i in range(EACH)]
        self.motions = [MOTIONS[i % len(MOTIONS)] for i in range(EACH)]
        self.pictures = [
            self._picture(i, f"{i:02d}.png", emoji.pictures([row]))
            for i, row in enumerate(self.drawings)
        ]
        self.films = [
            self._picture(i, f"{i:02d}.webp", emoji.motion([row], self.motions[i], FRAMES)[0])
            for i, row in enumerate(self.drawings)
        ]
        self.sounds = [self._sound(f"{i:02d}.flac", row) for i, row in enumerate(self.clips)]

    def _picture(self, place: int, name: str, frames: NDArray[np.float32]) -> str:
        """Frames (F,3,S,S) in [0,1], losslessly."""
        pixels = np.rint(np.moveaxis(frames, 1, -1) * 255).astype(np.uint8)
        first, *more = [Image.fromarray(frame) for frame in pixels]
        file = io.BytesIO()
        animated: dict[str, Any] = (
            {"save_all": True, "append_images": more, "lossless": True} if more else {}
        )
        first.save(file, "WEBP" if more else "PNG", **animated)
        write_atomic(self.out / name, file.getvalue())
        self.index.append(
            {
                "file": name,
                "concept": self.names[place],
                "maker": self.artists[place],
                "licence": LICENCES[self.artists[place]],
            }
        )
        return name

    def _sound(self, name: str, row: int) -> str:
        file, voice = io.BytesIO(), self.emoji.voices[self.emoji.clip_voice[row]]
        soundfile.write(
            file,
            self.emoji.clips([row])[0],
            RATE,
            format="FLAC",
            subtype="PCM_16",
            compression_level=1.0,
        )
        write_atomic(self.out / name, file.getvalue())
        concept = self.emoji.concepts[self.emoji.clip_concept[row]]
        self.index.append(
            {
                "file": name,
                "concept": concept,
                "maker": voice,
                "licence": VOICE_LICENCES[voice.split("-")[0]],
            }
        )
        return name


def prompts(pool: Pool) -> list[dict[str, Any]]:
    """Every task over every entry of the pool, in the words of tasks.py."""
    found = []
    for i, name in enumerate(pool.names):
        picture, film, sound = (
            ("image", pool.pictures[i]),
            ("video", pool.films[i]),
            ("audio", pool.sounds[i]),
        )
        drawn, spoken = draw_prompt(name, pool.artists[i]), f"say it, {pool.voices[i]} voice"
        bigger = ("text", f"now {('bigger', 'smaller')[i % 2]}")
        found += [
            prompt("text_to_image", "image", [("text", drawn)]),
            prompt("image_to_text", "text", [picture, ("text", WHAT_IS_THIS)]),
            prompt("text_to_audio", "audio", [("text", say_prompt(name, pool.voices[i]))]),
            prompt("audio_to_text", "text", [sound, ("text", WHAT_WAS_SAID)]),
            prompt(
                "text_to_video",
                "video",
                [("text", film_prompt(name, pool.motions[i], pool.artists[i]))],
            )
            | {"count": FRAMES},
            prompt("video_to_text", "text", [film, ("text", WHAT_HAPPENS)]),
            prompt("image_to_audio", "audio", [picture, ("text", spoken)]),
            prompt(
                "audio_to_image", "image", [sound, ("text", f"draw it, {pool.artists[i]} style")]
            ),
            prompt("now_bigger", "image", [("text", drawn)], [picture], [bigger]),
            prompt(
                "say_it",
                "audio",
                [picture, ("text", WHAT_IS_THIS)],
                [("text", name)],
                [("text", spoken)],
            ),
        ]
    return found


def heldout_prompts(folder: Path) -> list[dict[str, Any]]:
    """Every task but that which is given a film, over every fourth concept of the held-out
    files."""
    entries = read_json(folder / "index.json")
    pictures = {entry["concept"]: entry for entry in entries if entry["kind"] == "image"}
    # at its middle pace
    sounds = {entry["concept"]: entry for entry in entries if entry["file"].endswith("_1.flac")}
    found = []
    for i, name in enumerate(sorted(pictures)[::4]):
        picture, sound = ("image", pictures[name]["file"]), ("audio", sounds[name]["file"])
        artist, voice, motion = (
            pictures[name]["artist"],
            GENERATION_VOICES[i % len(GENERATION_VOICES)],
            MOTIONS[i % len(MOTIONS)],
        )
        drawn, spoken = draw_prompt(name, artist), f"say it, {voice} voice"
        found += [
            prompt("text_to_image", "image", [("text", drawn)]),
            prompt("image_to_text", "text", [picture, ("text", WHAT_IS_THIS)]),
            prompt("text_to_audio", "audio", [("text", say_prompt(name, voice))]),
            prompt("audio_to_text", "text", [sound, ("text", WHAT_WAS_SAID)]),
            prompt("text_to_video", "video", [("text", film_prompt(name, motion, artist))])
            | {"count": FRAMES},
            prompt("image_to_audio", "audio", [picture, ("text", spoken)]),
            prompt("audio_to_image", "image", [sound, ("text", f"draw it, {artist} style")]),
            prompt("now_bigger", "image", [("text", drawn)], [picture], [("text", "now bigger")]),
            prompt(
                "say_it",
                "audio",
                [picture, ("text", WHAT_IS_THIS)],
                [("text", name)],
                [("text", spoken)],
            ),
        ]
    return found


def prompt(task: str, answer: str, *turns: list[tuple[str, str]]) -> dict[str, Any]:
    """A line of prompts.jsonl; the user has the first turn and the last."""
    roles = ("user", "assistant") * len(turns)
    parts = [[{"kind": kind, "value": value} for kind, value in turn] for turn in turns]
    return {
        "task": task,
        "answer": answer,
        "turns": [{"role": r, "parts": p} for r, p in zip(roles, parts, strict=False)],
    }


def write_prompts(folder: Path, listed: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    write_atomic(
        folder / "prompts.jsonl", "".join(f"{json.dumps(line)}\n" for line in listed).encode()
    )


def main() -> int:
    """Command line; 3 with one line on stderr when the data is not there."""
    parser = argparse.ArgumentParser(
        description="Write the prompts of the emoji demo's calibration or report."
    )
    parser.add_argument("--data", type=Path, help="folder made by prepare.py")
    parser.add_argument(
        "--heldout",
        action="store_true",
        help="those of the report, over the committed held-out files",
    )
    parser.add_argument("--out", type=Path, default=HERE / "calibration")
    options = parser.parse_args()
    if (options.data is None) != options.heldout:
        parser.error("give either --data or --heldout")
    try:
        if options.heldout:
            write_prompts(HELDOUT, heldout_prompts(HELDOUT))
            return 0
        options.out.mkdir(parents=True, exist_ok=True)
        pool = Pool(Emoji.load(options.data), options.out, np.random.default_rng(0))
        write_prompts(options.out, prompts(pool))
        entries = ",\n".join(f"  {json.dumps(entry)}" for entry in pool.index)
        write_atomic(options.out / "index.json", f"[\n{entries}\n]\n".encode())
    except (DataError, OSError) as error:
        print(f"calibration_prompts: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
