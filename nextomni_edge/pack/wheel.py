"""This package as a wheel, made of the files that it runs from, so that a device needs no registry.
The same files give the same bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Final

import nextomni_edge
from nextomni_edge.errors import InputError

DISTRIBUTION: Final = "nextomni-edge"
# By their names in a wheel: what an installed package may call them. A checkout that is installed
# has PKG-INFO next to it.
_CARRIED: Final = {"METADATA": ("METADATA", "PKG-INFO"), "entry_points.txt": ("entry_points.txt",)}
LICENCES: Final = ("LICENSE", "NOTICE")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_WHEEL: Final = (
    "Wheel-Version: 1.0\nGenerator: nextomni-edge\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
)


def package_wheel() -> tuple[str, bytes]:
    """(file name, content). InputError: the package is not installed, so its requirements are
    unknown."""
    installed = _installed()
    stem = f"{DISTRIBUTION.replace('-', '_')}-{installed.version}"
    info = f"{stem}.dist-info"
    files = _sources() | {
        f"{info}/{name}": _carried(installed, names) for name, names in _CARRIED.items()
    }
    files |= {f"{info}/licenses/{name}": text for name, text in licences().items()}
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    record = "".join(
        f"{name},{_digest(content)},{len(content)}\n" for name, content in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr, entry.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return f"{stem}-py3-none-any.whl", out.getvalue()


def licences() -> dict[str, bytes]:
    """The package's licence and notice by their names. InputError: as `package_wheel`."""
    installed = _installed()
    return {name: _carried(installed, (f"licenses/{name}", f"../{name}")) for name in LICENCES}


def _installed() -> metadata.Distribution:
    try:
        return metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise InputError(
            "nextomni-edge runs without being installed; install it (pip install .) before packing"
        ) from error


def _carried(installed: metadata.Distribution, names: tuple[str, ...]) -> bytes:
    """The first of these files of the installed package that is not empty."""
    for name in names:
        if text := installed.read_text(name):
            return text.encode()
    raise InputError(
        f"{DISTRIBUTION} is installed without {' or '.join(names)}; install it again (pip install"
        " .) before packing"
    )


def _sources() -> dict[str, bytes]:
    """The package's files by their names in the wheel, links to its folders followed, sorted."""
    root, found = Path(nextomni_edge.__file__).parent, dict[str, bytes]()
    for folder, _, names in os.walk(root, followlinks=True):
        inside = Path(nextomni_edge.__name__) / Path(folder).relative_to(root)
        if "__pycache__" not in inside.parts:
            found |= {
                (inside / name).as_posix(): (Path(folder) / name).read_bytes()
                for name in names
                if not name.startswith(".")
            }
    return dict(sorted(found.items()))


def _digest(content: bytes) -> str:
    """A digest as a wheel's RECORD writes it: base64 for URLs, without padding."""
    return (
        "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    )
