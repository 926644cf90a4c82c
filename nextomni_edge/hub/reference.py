"""How a repository of the hub is named: `hf:OWNER/NAME`, or `hf:OWNER/NAME@REVISION`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from nextomni_edge.errors import UsageError

PREFIX: Final = "hf:"
REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION: Final = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)


@dataclass(frozen=True)
class Reference:
    """A repository, and a branch, tag or commit of it; None is its main branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def reference(name: str | os.PathLike[str]) -> Reference | None:
    """The repository that a name stands for; None where it names a place on this machine.

    UsageError: it begins with `hf:` and goes on as no repository.
    """
    text = os.fspath(name)
    if not text.startswith(PREFIX):
        return None
    repository, at, revision = text.removeprefix(PREFIX).partition("@")
    if not REPOSITORY.fullmatch(repository) or (at and not REVISION.fullmatch(revision)):
        raise UsageError(f"{text!r} is no repository of the hub; expected hf:OWNER/NAME[@REVISION]")
    return Reference(repository, revision or None)
