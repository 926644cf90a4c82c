"""An archive for a Jetson: the bundle, this package and a script. The script installs both,
compiles the engines and verifies them on the device.

Built, not executed: no Jetson was at hand. The script ran against stand-ins for its commands.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import MANIFEST
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.outputs import refuse_overlap
from nextomni_edge.pack import PackReport
from nextomni_edge.pack.wheel import package_wheel

SCRIPT: Final = "install.sh"
ENDING: Final = ".tar"  # not compressed: weights hardly shrink


def write(bundle: Bundle, out: Path, overwrite: bool) -> PackReport:
    """Write the archive `out`, which holds one folder of the same name. The same bundle and package
    give the same bytes.

    UsageError: `out` exists, or does not end in .tar. InputError: components that are not ONNX
    graphs.
    """
    if out.suffix != ENDING:
        raise UsageError(f"{out}: expected a name that ends in {ENDING}")
    refuse_overlap(out, [bundle.path])
    if os.path.lexists(out):
        _check_replaceable(out, overwrite)
    for name, record in bundle.manifest.components.items():
        if "tensorrt" not in record.stored_as.runtimes:
            raise InputError(
                f"{bundle.path}: {name} is {record.format}, TensorRT compiles ONNX graphs; export"
                " with --target onnx"
            )
    with atomic_write(out) as file:
        files = _write_archive(file, bundle, out.stem)
    return PackReport(
        out, files, out.stat().st_size, f"on the Jetson: tar xf {out.name} && {out.stem}/{SCRIPT}"
    )


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """UsageError: `out` is not to be replaced, or is no archive of ours."""
    if not overwrite:
        raise UsageError(f"{out} exists; choose another name or pass --overwrite")
    try:
        with tarfile.open(out, "r:") as archive:
            first = archive.next()
    except (OSError, tarfile.TarError):
        first = None
    if first is None or not first.name.endswith(f"/{SCRIPT}"):
        raise UsageError(
            f"{out} is no archive that `pack` wrote; it is not overwritten: choose another name"
        )


def _write_archive(file: IO[bytes], bundle: Bundle, folder: str) -> int:
    """Write the files and return their number. Names are sorted, and no owner, time or mode of this
    machine is kept."""
    count = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, mode, content in _contents(bundle):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.mode = mode
            if isinstance(content, Path):
                with open_regular(content) as source:
                    entry.size = os.fstat(source.fileno()).st_size
                    archive.addfile(entry, source)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            count += 1
    return count


def _contents(bundle: Bundle) -> Iterator[tuple[str, int, bytes | Path]]:
    """(name, mode, content or the file that holds it) of each file."""
    yield SCRIPT, 0o755, Path(__file__).with_name(SCRIPT)
    name, wheel = package_wheel()
    yield name, 0o644, wheel
    for name in sorted([MANIFEST, *bundle.manifest.files]):
        yield f"bundle/{name}", 0o644, bundle.path / name
