"""Output on consoles that are not UTF-8: a character that the console does not have is spelled in
ASCII, and no command ends because of it."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from typing import Final

ERRORS: Final = "nextomni-edge-ascii"
# What our own tables and sentences use; of anything else the letters without accents, or "?".
PLAIN: Final = {
    "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "−": "-", "–": "-", "—": "-", "×": "x", "·": "*",
    "→": "->", "←": "<-", "±": "+-", "‖": "||", "…": "...", "‘": "'", "’": "'", "“": '"',
    "”": '"', "β": "beta", "κ": "kappa",
}  # fmt: skip


def spelled(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`: the text that stands for what cannot be encoded, and where to
    go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or "?"


def tolerate_consoles() -> None:
    """Let standard output and standard error spell what their encoding does not have."""
    codecs.register_error(ERRORS, spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)
