"""A copy of the package with one more file and one more line, and scripts that run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "swift")


class Opened:
    """A copy of nextomni_edge/ in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.package = folder, folder / "nextomni_edge"
        # links to the top-level folders become folders
        shutil.copytree(ROOT / "nextomni_edge", self.package, ignore=LEFT_OUT)

    def add(self, file: Path, place: str, table: str, behind: str, line: str) -> None:
        """Put `file` at `place`, and one `line` into the table behind the line `behind`."""
        shutil.copy(file, self.package / place)
        self.line(table, behind, line)

    def line(self, table: str, behind: str, line: str) -> None:
        """Put one `line` into a file behind the line `behind`."""
        path = self.package / table
        text = path.read_text(encoding="utf-8")
        assert text.count(f"{behind}\n") == 1, f"{table}: {behind}"
        path.write_text(text.replace(f"{behind}\n", f"{behind}\n{line}\n"), encoding="utf-8")

    def run(self, script: str, *arguments: str) -> str:
        """What a script of this folder prints, run where the copy is imported."""
        environment = os.environ | {"PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}"}
        ended = subprocess.run(
            [sys.executable, str(Path(__file__).parent / script), *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout
