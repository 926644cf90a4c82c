"""A disk without room."""

from __future__ import annotations

import os
from pathlib import Path


def fill(disk: Path) -> Path:
    """A file that takes all the room there is but a page."""
    ballast, room = disk / "ballast", os.statvfs(disk)
    ballast.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - 4096))
    return ballast
