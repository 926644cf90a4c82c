"""What more training buys: `python benchmarks/demo_growth.py UPDATES=MODEL ... [-o FILE]`, writes
demo_growth.json next to it.

Every MODEL is a model directory of the demo, and UPDATES the optimiser steps of its last stage.
Each direction is scored as `make eval --quick` scores it, in PyTorch, with Wilson's 95 % interval.
What a file holds already of the same model is kept, so that an interrupted run goes on.
`python docs/drawings.py` draws the result.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

# the first of these puts the example's folder on the path
from forwards import JUDGES, Exam, Panel, heldout, trained  # isort: skip
from eval import score  # isort: skip
from measures import MEASURES

from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel

DIRECTIONS = (
    "text_to_image_named", "text_to_image_named_unseen_style", "text_to_audio_transcribed",
    "image_to_text_heldout_artist", "image_to_text_unmet_artist", "audio_to_text_heldout_voice",
    "audio_to_text_unmet_voice", "video_to_text_heldout_artist", "audio_to_image_named",
    "image_to_audio_transcribed", "two_turns_changed", "text_to_video_named",
)  # fmt: skip


def named(given: str) -> tuple[int, Path]:
    """UPDATES=MODEL. UsageError: another form."""
    updates, _, model = given.partition("=")
    if not (updates.isdecimal() and model):
        raise UsageError(f"{given!r}: expected UPDATES=MODEL, such as 1000=runs/a/model")
    return int(updates), Path(model)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="UPDATES=MODEL")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    results: dict[str, Any] = (
        json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    )
    for updates, path in sorted(map(named, arguments.models)):
        weights = Checkpoint.open(path).sha256()["model.safetensors"]
        row = results.get(str(updates), {})
        found = row if row.get("weights") == weights else {"weights": weights}
        model = EdgeModel.from_checkpoint(path)
        exam = Exam(model, Panel(JUDGES), heldout(), trained(), {}, 1, 0, lambda done, total: None)
        for direction in DIRECTIONS:
            if direction not in found:
                found[direction] = score(MEASURES[direction](exam))
                print(updates, direction, found[direction], flush=True)
            results[str(updates)] = found
            with atomic_write(arguments.out, "w") as file:
                file.write(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
