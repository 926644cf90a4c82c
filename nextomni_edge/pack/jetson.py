"""An archive for a Jetson: the bundle, this package, the wheels that it needs, and a script. The
script installs all, compiles the engines, verifies them on the device, and answers a prompt.

Built, not executed: no Jetson was at hand. The script ran here up to `compile`, under Python 3.10
without a network, and to its end against stand-ins for its commands.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import MANIFEST
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.formats.regular import open_regular
from nextomni_edge.outputs import refuse_overlap
from nextomni_edge.pack import PackReport
from nextomni_edge.pack.wheel import licences, package_wheel
from nextomni_edge.pack.wheels import download

SCRIPT: Final = "install.sh"
UNIT: Final = "nextomni-edge.service.in"
# Of the script: the ending of the file for its first answer, by the answer's modality.
ANSWER: Final = b"\nanswer=\n"
Content = tuple[str, int, bytes | Path]  # a file's name, mode, and content or where that is
ENDINGS: Final = {"text": "", "image": ".png", "audio": ".wav"}
ENDING: Final = ".tar"  # not compressed: weights hardly shrink


def write(bundle: Bundle, out: Path, overwrite: bool, wheels: str | None = None) -> PackReport:
    """Write the archive `out`, which holds one folder of the same name. The same bundle and package
    give the same bytes. `wheels`: hold every wheel that the device's Python of this version needs,
    such as "3.10" (see wheels.py).

    UsageError: `out` exists, or does not end in .tar. InputError: components that are not ONNX
    graphs, or a library without a wheel. MissingRuntimeError: as `wheels.download`.
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
    with tempfile.TemporaryDirectory() as scratch:
        contents = [*_contents(bundle), *(_wheels(wheels, Path(scratch)) if wheels else ())]
        with atomic_write(out) as file:
            _write_archive(file, contents, out.stem)
    return PackReport(
        out,
        len(contents),
        out.stat().st_size,
        f"on the Jetson: tar xf {out.name} && {out.stem}/{SCRIPT}",
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


def _write_archive(file: IO[bytes], contents: Iterable[Content], folder: str) -> None:
    """Names are sorted, and no owner, time or mode of this machine is kept."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, mode, content in contents:
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.mode = mode
            if isinstance(content, Path):
                with open_regular(content) as source:
                    entry.size = os.fstat(source.fileno()).st_size
                    archive.addfile(entry, source)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def _contents(bundle: Bundle) -> Iterator[Content]:
    """The files of every archive."""
    script, answers = Path(__file__).with_name(SCRIPT).read_bytes(), bundle.config.answers
    assert ANSWER in script
    ending = "" if "text" in answers else ENDINGS[answers[0]]
    yield SCRIPT, 0o755, script.replace(ANSWER, f"\nanswer={ending}\n".encode())
    yield UNIT, 0o644, Path(__file__).with_name(UNIT)
    for name, text in licences().items():
        yield name, 0o644, text
    name, wheel = package_wheel()
    yield name, 0o644, wheel
    for name in sorted([MANIFEST, *bundle.manifest.files]):
        yield f"bundle/{name}", 0o644, bundle.path / name


def _wheels(python: str, scratch: Path) -> Iterator[Content]:
    """A wheel of every library that the device's Python needs, downloaded into `scratch`."""
    name, content = package_wheel()
    own, folder = scratch / name, scratch / "wheels"
    own.write_bytes(content)
    folder.mkdir()
    download(own, python, folder)
    for wheel in sorted(folder.iterdir()):
        yield f"wheels/{wheel.name}", 0o644, wheel
