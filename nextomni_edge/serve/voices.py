"""The voices that a server offers by name, and what a request's words ask of speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from nextomni_edge.api.settings import Settings
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.formats.regular import read_regular

WORDS: Final = ".txt"  # of the file that says what a clip says
MAX_WORDS: Final = 1 << 14  # bytes of it
MOST: Final = 1024


@dataclass(frozen=True)
class Clip:
    """A voice: the path of a clip, and what the clip says."""

    path: Path
    text: str


def read_voices(folder: Path | None) -> dict[str, Clip]:
    """The clips of a folder by their names, each NAME.wav (or another sound) with a NAME.txt next
    to it. InputError: no folder, no clip, or a text that is missing or cannot be read."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of clips, each with its text in NAME.txt")
    clips = sorted(
        path for path in folder.iterdir() if path.suffix != WORDS and not path.name.startswith(".")
    )
    if not 0 < len(clips) <= MOST:
        raise InputError(f"{folder}: {len(clips)} clips, expected 1 to {MOST}")
    found: dict[str, Clip] = {}
    for clip in clips:
        if clip.stem in found:
            raise InputError(f"{folder}: two clips of the name {clip.stem!r}; keep one")
        found[clip.stem] = Clip(clip, _words(clip.with_suffix(WORDS)))
    return found


def _words(path: Path) -> str:
    try:
        text = read_regular(path, MAX_WORDS).decode("utf-8").strip()
    except UnicodeError as error:
        raise InputError(f"{path}: not UTF-8; write what the clip says") from error
    if not text:
        raise InputError(f"{path}: empty; write what the clip says")
    return text


def spoken(
    config: ModelConfig,
    voices: Mapping[str, Clip],
    name: Any = None,
    speed: float = 1.0,
    language: str | None = None,
    instructions: str | None = None,
) -> Settings:
    """The settings of a sound out of OpenAI's words for it. A model that does not say texts in
    voices has one voice, whatever its name.

    UsageError: an unknown voice of a server that has some, or words that the model does not
    understand.
    """
    pace = None if speed == 1.0 else speed
    asked = {"language": language, "instructions": instructions, "speed": pace}
    stated: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    if not config.speaks_only:
        if stated:
            raise UsageError(f"{', '.join(stated)}: this model has one way to speak; leave it out")
        return {}
    if "instructions" in stated:
        stated["voice_design"] = stated.pop("instructions")
    if isinstance(name, dict):
        name = name.get("id")  # the newer form of OpenAI's clients
    if name is not None and voices:
        clip = voices.get(name) if isinstance(name, str) else None
        if clip is None:
            raise UsageError(f"voice {str(name)[:80]!a}: expected one of {', '.join(voices)}")
        stated |= {"voice": str(clip.path), "voice_text": clip.text}
    return cast("Settings", stated)
