"""The package's exceptions. Each carries the exit code of the command line (DESIGN, exit codes)."""

from __future__ import annotations

import re
from typing import Final

LONGEST_QUOTE: Final = 200  # characters of a user's file or option that an error repeats
LONGEST: Final = 1000  # characters of a line
_QUOTED: Final = re.compile(r"""'[^']{200,}'|"[^"]{200,}"|[^\s'"]{201,}""")

# all of Cc but tabs and ends of lines, separators of lines, bidirectional controls, surrogates
_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def cut(text: str) -> str:
    """The text with its long quotations and words cut to LONGEST_QUOTE characters, and counted."""
    return _QUOTED.sub(_shortened, text)


def _shortened(found: re.Match[str]) -> str:
    whole = found[0]
    mark = whole[0] if whole[0] in "'\"" else ""
    inner = whole[1:-1] if mark else whole
    if len(inner) <= LONGEST_QUOTE:
        return whole
    return f"{mark}{inner[:LONGEST_QUOTE]}{mark}... ({len(inner)} characters)"


def printable(text: str) -> str:
    """The text with control characters, those that turn the writing's direction and halves of
    characters escaped: names out of files must not steer a terminal. Tabs and ends of lines
    stay."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """The text as one line that a terminal can show, of about LONGEST characters."""
    line = cut(" ".join(text.split()))
    shown = printable(line[:LONGEST])
    return shown if len(line) <= LONGEST else f"{shown}... ({len(line)} characters)"


def reason_of(error: BaseException) -> str:
    """What a library's error says, in one line of at most LONGEST_QUOTE characters, counted where
    it is cut; its type where it says nothing."""
    line = " ".join(str(error).split()) or type(error).__name__
    if len(line) <= LONGEST_QUOTE:
        return line
    return f"{line[:LONGEST_QUOTE]}... ({len(line)} characters)"


class NextOmniError(Exception):
    """Base of every error that is meant for a person: one line saying what was found, what was
    expected, what to do."""

    exit_code = 1

    def __init__(self, line: str = "", *more: object) -> None:
        super().__init__(cut(line), *more)


class UsageError(NextOmniError):
    """An option, or a combination of options, that cannot be meant."""

    exit_code = 2


class InputError(NextOmniError):
    """A file, manifest, checkpoint or tensor that is not what it must be."""

    exit_code = 3


class GateError(NextOmniError):
    """A parity check or a quality gate that was not met, NaN included."""

    exit_code = 4


class MissingRuntimeError(NextOmniError):
    """A runtime library or an execution provider that is not here."""

    exit_code = 5
