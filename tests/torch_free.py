"""Scripts in a process where importing torch raises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PREFIX = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError(f"{name} was imported")
sys.meta_path.insert(0, Absent())
"""


def without_torch(
    script: str, *arguments: str, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a script there, in a working folder, and return what it printed."""
    command = [sys.executable, "-c", PREFIX + script, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
