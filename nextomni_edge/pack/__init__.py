"""A bundle wrapped for a device: one archive or folder with everything that the device needs. Needs
no PyTorch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nextomni_edge.bundle import Bundle

# Adding a device is its file and one line here: name → the module that holds `write`, a Write.
TARGETS: Final = {
    "ios": "nextomni_edge.pack.ios",
    "jetson": "nextomni_edge.pack.jetson",
}


@dataclass(frozen=True)
class PackReport:
    """What was written: the number of files and bytes in `out`. `next` is the next thing to do, in
    one line."""

    out: Path
    files: int
    bytes: int
    next: str


# (bundle, out, overwrite); UsageError, InputError
Write = Callable[[Bundle, Path, bool], PackReport]


def pack(bundle: Bundle, out: Path, target: str, overwrite: bool = False) -> PackReport:
    """Wrap a bundle for `target`, a name of TARGETS. UsageError: `out` exists. InputError: a bundle
    that the device cannot use."""
    write: Write = importlib.import_module(TARGETS[target]).write
    return write(bundle, out, overwrite)
