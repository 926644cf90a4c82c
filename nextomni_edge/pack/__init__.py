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
    "web": "nextomni_edge.pack.web",
}
WEB: Final = "web"


@dataclass(frozen=True)
class PackReport:
    """What was written: the number of files and bytes in `out`. `next` is the next thing to do, in
    one line."""

    out: Path
    files: int
    bytes: int
    next: str


# (bundle, out, overwrite), and for the web the runtime's folder; UsageError, InputError
Write = Callable[..., PackReport]


def pack(
    bundle: Bundle,
    out: Path,
    target: str,
    overwrite: bool = False,
    onnxruntime_web: Path | None = None,
) -> PackReport:
    """Wrap a bundle for `target`, a name of TARGETS. `onnxruntime_web`: the folder of that npm
    package, for the target "web". UsageError: `out` exists. InputError: a bundle that the device
    cannot use. MissingRuntimeError: onnxruntime-web is not there."""
    if onnxruntime_web is not None and target != WEB:
        raise UsageError(f"--onnxruntime-web: of --for {WEB} only, not of {target}; leave it out")
    write: Write = importlib.import_module(TARGETS[target]).write
    runtime = (onnxruntime_web,) if target == WEB else ()
    return write(bundle, out, overwrite, *runtime)
