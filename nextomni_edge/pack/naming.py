"""The names of a Swift package and its modules, from the bundle that is packed: two packed models
may stand in one app."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

OURS: Final = "NextOmni"
_MODULES: Final = re.compile(rf"\b{OURS}(?=(?:Flow|CoreML|Pipe|Views)(?:Tests)?\b)")
_PACKAGE: Final = re.compile(rf'name: "{OURS}"')
_PROGRAM: Final = re.compile(r"\bnextomni-(?=(?:sample|replay|bench)\b)")
_NAMED: Final = re.compile(r'name: "([A-Z][A-Za-z0-9]*)"')


def package_name(folder: str) -> str:
    """A bundle folder's name in the form of Swift's modules: emoji-int4 becomes EmojiInt4. A name
    without a letter in front becomes NextOmni and that name."""
    words = "".join(word[:1].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", folder))
    return words if words[:1].isalpha() else OURS + words


def named_path(path: PurePosixPath, name: str) -> PurePosixPath:
    """A source's path with the package's name in place of ours."""
    return PurePosixPath(*(_MODULES.sub(name, part) for part in path.parts))


def named_text(text: str, name: str) -> str:
    """A source with the package's name in place of ours."""
    programs = _PROGRAM.sub(f"{name.lower()}-", text)
    return _PACKAGE.sub(f'name: "{name}"', _MODULES.sub(name, programs))


def name_in(manifest: str) -> str | None:
    """The name that a Package.swift gives its package; None where it gives none."""
    found = _NAMED.search(manifest)
    return found.group(1) if found else None
