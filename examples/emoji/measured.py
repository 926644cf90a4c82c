"""What `make eval` measured on the held-out split, in words: a name for each measure, and why a
direction is weak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalog import read_json

Measures = dict[str, dict[str, Any]]

LABELS = {
    "text_to_image_named": "Text → image: the judge names the drawing",
    "text_to_image_named_unseen_style": "Text → image, in a style never seen with that name",
    "image_to_text_heldout_artist": "Image → text: drawings by unseen artists",
    "image_to_text_unmet_artist": "Image → text: a set of drawings that training never met",
    "image_to_text_train": "Image → text: drawings of the training set",
    "text_to_audio_transcribed": "Text → speech: the judge hears the word",
    "audio_to_text_heldout_voice": "Speech → text: a voice never heard",
    "audio_to_text_unmet_voice": "Speech → text: a synthesiser that training never met",
    "text_to_video_named": "Text → video: the judge names the film",
    "video_to_text_heldout_artist": "Video → text: name and motion, unseen artists",
    "audio_to_image_named": "Speech → image: the judge names the drawing",
    "image_to_audio_transcribed": "Image → speech: the judge hears the word",
    "audio_to_image_via_text": "Speech → text → image, in two answers",
    "image_to_audio_via_text": "Image → text → speech, in two answers",
    "two_turns_changed": "Two turns: the asked change of its own first picture",
    "retrieval_text_image_r1": "Retrieval: the right drawing is the nearest to its name",
    "retrieval_text_audio_r1": "Retrieval: the right recording is the nearest to its name",
    "image_codec_named": "The image tokens alone: a drawing encoded and decoded",
    "audio_codec_transcribed": "The sound tokens alone: a recording encoded and decoded",
}
# A direction whose share is below this is called weak.
WEAK = 0.6
MEASURED_BY = {
    "Video → text": "video_to_text_heldout_artist",
    "Speech → image": "audio_to_image_named",
    "Image → speech": "image_to_audio_transcribed",
}
WHY = {
    "Video → text": (
        "An answer counts only if it names both the thing and its motion. Of still drawings,"
        " {image_to_text_heldout_artist} are named."
    ),
    "Speech → image": (
        "Each half works by itself: {audio_to_text_heldout_voice} of the words are understood, and"
        " {text_to_image_named} of written names are drawn. What the model has not learnt is to go"
        " from sound to picture without a word in between."
    ),
    "Image → speech": (
        "Three errors add up: {image_to_text_heldout_artist} of unseen drawings are named,"
        " {text_to_audio_transcribed} of written words are spoken clearly, and"
        " {audio_codec_transcribed} of real recordings stay clear as tokens."
    ),
}


def read_measures(results: Path) -> Measures:
    """What stands in the committed `eval.json`; nothing where there is no such file."""
    found: Measures = read_json(results) if results.exists() else {}
    return found


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def weakness(title: str, measures: Measures) -> str:
    """One line that says how weak the direction `title` is, and why; "" where it is not weak."""
    measure = MEASURED_BY.get(title, "")
    if measure not in measures or measures[measure]["value"] >= WEAK:
        return ""
    found = measures[measure]
    shares = {name: percent(other["value"]) for name, other in measures.items()}
    return (
        f"A weak direction: right in {percent(found['value'])} of {found['n']} held-out tries."
        f" {WHY[title].format(**shares)}"
    )
