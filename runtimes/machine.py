"""This machine, as far as a measured time depends on it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nextomni_edge.threads import cores, threads

CPU_INFO: Final = Path("/proc/cpuinfo")


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


def _processor() -> str:
    """The maker's name of the processor, where the system tells it."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
