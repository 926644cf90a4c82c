"""What to calibrate with: prompts of the training split, one JSON object a line.

    {"task": "image to text", "answer": "text", "turns": [{"role": "user", "parts": [
        {"kind": "image", "value": "a.png"}, {"kind": "text", "value": "what is this?"}]}]}

A part's `value` is the text itself, or a file's path, relative to the list. `count` says how much
is answered (chat.respond).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.formats.strict_json import parse_json, read_dataclass
from nextomni_edge.media.kinds import check_file
from nextomni_edge.tokens.chat import Kind

NAME: Final = "prompts.jsonl"
MAX_LINE: Final = 2**20


@dataclass(frozen=True)
class PromptPart:
    """Text, or the path of a picture, a sound or a film."""

    kind: Kind
    value: str


@dataclass(frozen=True)
class PromptTurn:
    """One side's turn."""

    role: Literal["user", "assistant"]
    parts: tuple[PromptPart, ...]


@dataclass(frozen=True)
class Prompt:
    """A conversation to answer. Prompts of one `task` are one stratum of a calibration set."""

    task: str
    answer: Kind
    turns: tuple[PromptTurn, ...]
    count: int | None = None


def read_prompts(path: Path) -> tuple[list[Prompt], Path]:
    """The prompts of a file, or of `prompts.jsonl` in a folder, and the folder that their paths are
    relative to.

    InputError: no such file, no prompt in it, or a bad line. The error names file and line.
    """
    file = path / NAME if path.is_dir() else path
    check_file(file)
    prompts = []
    with open_regular(file) as lines:
        # an endless line is not read to its end
        for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE + 1), b""), 1):
            where = f"{file}, line {number}"
            if len(line) > MAX_LINE:
                raise InputError(
                    f"{where}: at least {len(line)} bytes, at most {MAX_LINE} are read"
                )
            if line.strip():
                prompts.append(
                    _checked(read_dataclass(Prompt, parse_json(line, where), where), where)
                )
    if not prompts:
        raise InputError(f"{file}: no prompt in it, expected one JSON object a line")
    return prompts, file.parent


def _checked(prompt: Prompt, where: str) -> Prompt:
    if not prompt.task.strip():
        raise InputError(f"{where}: task is empty, expected a name")
    if not prompt.turns or prompt.turns[-1].role != "user":
        raise InputError(
            f"{where}: the last turn must be the user's: it is the one that is answered"
        )
    if any(not turn.parts for turn in prompt.turns):
        raise InputError(f"{where}: a turn without parts")
    return prompt
