"""A bundle wrapped for a device: one archive or folder with everything that the device needs. Needs
no PyTorch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError

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


# (bundle, out, overwrite), a target's further options; UsageError, InputError
Write = Callable[..., PackReport]


def pack(
    bundle: Bundle, out: Path, target: str, overwrite: bool = False, wheels: str | None = None
) -> PackReport:
    """Wrap a bundle for `target`, a name of TARGETS. `wheels`: hold the wheels that the device's
    Python of this version needs. UsageError: `out` exists, or a target without Python. InputError:
    a bundle that the device cannot use."""
    write: Write = importlib.import_module(TARGETS[target]).write
    if wheels is None:
        return write(bundle, out, overwrite)
    if target != "jetson":
        raise UsageError(f"--wheels is for a device with Python, a Jetson, not for {target}")
    return write(bundle, out, overwrite, wheels)
