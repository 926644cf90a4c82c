"""What a better vocoder could add: `python benchmarks/griffin_lim.py [--model DIR] [-o FILE]`

writes griffin_lim.json next to it.

The demo's judge transcribes the committed clips of the held-out and of the unmet voice three times:
as they are, out of Griffin-Lim from their own log-mel, and out of the codec, which ends in the same
Griffin-Lim. A vocoder can win no more than lies between the first and the second.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

# the first of these puts the example's folder on the path
from forwards import EXAMPLE, JUDGES, Panel, heldout, wilson  # isort: skip
from samples import unmet  # isort: skip

from nextomni_edge.files import atomic_write
from nextomni_edge.models import native
from nextomni_edge.models.audio import GriffinLim
from nextomni_edge.tokens.audio import log_mel


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=EXAMPLE / "checkpoint")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    model, panel = native.load(arguments.model).eval(), Panel(JUDGES)
    vocoder = GriffinLim(model.config.audio)
    results: dict[str, Any] = {}
    for voice, emoji in (("held out", heldout()), ("unmet", unmet())):
        rows = emoji.clips_of(heldout=True)
        clips, concepts = emoji.clips(rows), emoji.clip_concept[rows]
        mel = torch.from_numpy(np.stack([log_mel(clip, model.config.audio) for clip in clips]))
        with torch.no_grad():
            heard = {
                "as it is": clips,
                "Griffin-Lim": vocoder(mel).flatten(1).numpy(),
                "codec": model.audio_decoder(model.audio_encoder(mel)).flatten(1).numpy(),
            }
        for name, waves in heard.items():
            right = int((panel.speech(waves).argmax(axis=1) == concepts).sum())
            value, n = right / len(rows), len(rows)
            results.setdefault(voice, {})[name] = {"value": value, "n": n, "ci95": wilson(right, n)}
            print(voice, name, f"{value:.3f}", n, flush=True)
    with atomic_write(arguments.out, "w") as file:
        file.write(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
