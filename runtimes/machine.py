"""This machine, as far as a measured time, or the last digits of an integer product, depend on
it."""

from __future__ import annotations

import importlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nextomni_edge.threads import cores, threads

CPU_INFO: Final = Path("/proc/cpuinfo")
MEMORY_INFO: Final = Path("/proc/meminfo")
ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "aarch64"}  # other systems' names
# What a library chooses its kernels of 8-bit products by, as Linux names it, and our name for it.
INTEGER_FEATURES: Final = {
    "avx2": "avx2", "avx_vnni": "avx_vnni", "avx512_vnni": "avx512_vnni", "amx_int8": "amx_int8",
    "asimddp": "dotprod", "i8mm": "i8mm",
}  # fmt: skip
# numpy asks the processor itself, on every system, but for fewer features.
ASKED: Final = {"AVX2": "avx2", "AVX512VNNI": "avx512_vnni", "ASIMDDP": "dotprod"}


@dataclass(frozen=True)
class Machine:
    """What a measured time depends on besides the bundle: `cores` are those that the process may
    use, `threads` those that it does."""

    processor: str
    architecture: str
    cores: int
    threads: int

    @classmethod
    def here(cls) -> Machine:
        return cls(_processor(), platform.machine(), cores(), threads() or cores())

    def __str__(self) -> str:
        return f"{self.processor}, {self.architecture}, {self.cores} cores, {self.threads} threads"


def free_memory() -> int | None:
    """Bytes that a program could still take, files in memory included; None where the system is
    not Linux."""
    if not MEMORY_INFO.exists():
        return None
    fields = dict(line.split(":") for line in MEMORY_INFO.read_text().splitlines())
    return 1024 * int(fields["MemAvailable"].split()[0])


def integer_features() -> tuple[str, ...]:
    """The processor's architecture, and its features for 8-bit products, sorted.

    Two machines with the same tuple run the same integer kernels. Linux lists every feature.
    Elsewhere only those of `ASKED` are known.
    """
    listed, asked = _listed_features(), _asked_features()
    # Under an emulator the list is the host's, and only the emulated processor's answer counts.
    emulated = any(name in listed and not there for name, there in asked.items())
    found = {name for name, there in asked.items() if there} | (set() if emulated else listed)
    architecture = platform.machine().lower()
    return (ARCHITECTURES.get(architecture, architecture), *sorted(found))


def products_saturate() -> bool:
    """Whether sums of uint8 times int8 saturate at 16 bits: on x86 without VNNI. A
    system that lists no VNNI counts as one without."""
    architecture, *found = integer_features()
    return architecture == "x86_64" and not {"avx512_vnni", "avx_vnni"} & set(found)


def _listed_features() -> set[str]:
    """Integer features by our names, from the system's list."""
    words = {
        word
        for line in _cpu_info()
        if line.partition(":")[0].strip() in ("flags", "Features")
        for word in line.partition(":")[2].split()
    }
    return {ours for theirs, ours in INTEGER_FEATURES.items() if theirs in words}


def _asked_features() -> dict[str, bool]:
    """Whether the processor says that it has each of `ASKED`; empty where numpy does not tell."""
    for module in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):
        try:
            found = importlib.import_module(module).__cpu_features__
        except (ImportError, AttributeError):
            continue
        return {ours: bool(found.get(theirs)) for theirs, ours in ASKED.items()}
    return {}


def _processor() -> str:
    """The maker's name of the processor, where the system tells it."""
    names = [
        line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()


def _cpu_info() -> list[str]:
    try:
        return CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
