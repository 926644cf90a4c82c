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
    "android": "nextomni_edge.pack.android",
    "ios": "nextomni_edge.pack.ios",
    "jetson": "nextomni_edge.pack.jetson",
    "web": "nextomni_edge.pack.web",
}
# An option that only one target takes → that target.
OPTIONS: Final = {"onnxruntime_web": "web", "wheels": "jetson"}


@dataclass(frozen=True)
class PackReport:
    """What was written: the number of files and bytes in `out`. `next` is the next thing to do, in
    one line."""

    out: Path
    files: int
    bytes: int
    next: str


# (bundle, out, overwrite), and the target's own option; UsageError, InputError
Write = Callable[..., PackReport]


def pack(
    bundle: Bundle,
    out: Path,
    target: str,
    overwrite: bool = False,
    onnxruntime_web: Path | None = None,
    wheels: str | None = None,
) -> PackReport:
    """Wrap a bundle for `target`, a name of TARGETS. `onnxruntime_web`: the folder of that npm
    package, for "web". `wheels`: for "jetson", hold the wheels that its Python of this version
    needs. UsageError: `out` exists, or an option of another target. InputError: a bundle that the
    device cannot use. MissingRuntimeError: what packs is not installed."""
    given = {"onnxruntime_web": onnxruntime_web, "wheels": wheels}
    for name, only in OPTIONS.items():
        if given[name] is not None and only != target:
            option = name.replace("_", "-")
            raise UsageError(f"--{option}: of --for {only} only, not of {target}; leave it out")
    write: Write = importlib.import_module(TARGETS[target]).write
    return write(bundle, out, overwrite, *(given[n] for n in OPTIONS if OPTIONS[n] == target))
