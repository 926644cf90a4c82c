"""The wheels that a device's Python installs this package from, without a network.

`uv` finds the versions for a Python and a processor that are not this machine's, and pip downloads
them. A library without a wheel is an error, because a device compiles nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from nextomni_edge.errors import InputError
from nextomni_edge.extras import needs_extra

# A JetPack's Python → the C library of its Ubuntu, glibc 2.N: JetPack 6 is on 22.04, 7 on 24.04.
PYTHONS: Final = {"3.10": 35, "3.12": 39}
OLDEST_GLIBC: Final = 17  # that a wheel's name can ask for
EXTRAS: Final = "quantize,serve"  # what install.sh installs


def download(wheel: Path, python: str, folder: Path, machine: str = "aarch64") -> None:
    """Fill `folder` with a wheel of every library that the package's `wheel` needs under this
    Python, a name of PYTHONS, without the package itself.

    MissingRuntimeError: the extra `pack` is not installed. InputError: a library has no wheel for
    the device, or the registry does not answer.
    """
    with needs_extra("pack", "uv"):
        import uv
    glibc = PYTHONS[python]
    asked = f"nextomni-edge[{EXTRAS}] @ {wheel.resolve().as_uri()}\n"
    said = _run(
        [
            uv.find_uv_bin(), "pip", "compile", "-", "--only-binary", ":all:", "--no-header",
            "--no-annotate", "--quiet", "--python-version", python, "--python-platform",
            f"{machine}-manylinux_2_{glibc}",
        ],
        f"no set of wheels for Python {python} on {machine}", asked,
    )  # fmt: skip
    pins = [line for line in said.splitlines() if line and not line.startswith("nextomni-edge")]
    listed = folder / "requirements.txt"
    listed.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    platforms = [
        word
        for minor in range(glibc, OLDEST_GLIBC - 1, -1)
        for word in ("--platform", f"manylinux_2_{minor}_{machine}")
    ]
    _run(
        [
            sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet",
            "--no-deps", "--only-binary", ":all:", "--implementation", "cp", "--python-version",
            python, *platforms, "--platform", f"manylinux2014_{machine}", "--dest", str(folder),
            "--requirement", str(listed),
        ],
        f"wheels for Python {python} on {machine} cannot be downloaded",
    )  # fmt: skip
    listed.unlink()


def _run(command: list[str], failure: str, given: str = "") -> str:
    """What a command prints. InputError: it fails; the line ends with its own last one."""
    ended = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"{failure} ({' '.join(reason.split())[:300]})")
    return ended.stdout
