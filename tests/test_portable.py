"""The device path on a system without POSIX: Windows has no `fcntl`, opens no directory and says
less about itself. These tests take all that away; the workflow runs on Windows itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.sources import ROOT

WITHOUT_POSIX = """
import os, sys
for name in ("fcntl", "grp", "pwd", "readline", "resource", "termios", "tty"):
    sys.modules[name] = None  # importing one raises
for name in ("O_DIRECTORY", "O_NOFOLLOW", "getuid", "geteuid", "sched_getaffinity", "sysconf"):
    delattr(os, name)
open_file = os.open
def windows_open(path, flags, *rest, **named):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return open_file(path, flags, *rest, **named)
os.open = windows_open
"""
WRITES = """
from pathlib import Path
from nextomni_edge.errors import UsageError
from nextomni_edge.files import atomic_directory, atomic_write, resumable_directory

root = Path(sys.argv[1])
for text in ("once\\n", "again\\n"):
    with atomic_write(root / "file", "w") as file:
        file.write(text)
assert (root / "file").read_bytes() == b"again\\n"
for overwrite in (False, True):
    with atomic_directory(root / "folder", overwrite) as part:
        (part / "inside").write_text(str(overwrite))
        try:
            with atomic_directory(root / "folder", True):
                raise AssertionError("two writers of one folder")
        except UsageError as error:
            assert "is being written by another process" in str(error)
assert (root / "folder" / "inside").read_text() == "True"
try:
    with resumable_directory(root / "kept") as part:
        (part / "first").write_text("kept")
        raise KeyError
except KeyError:
    pass
with resumable_directory(root / "kept") as part:
    assert (part / "first").read_text() == "kept"
print(sorted(path.name for path in root.iterdir()))
"""


def without_posix(script: str, *arguments: object) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX + script, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_files_and_directories_appear_whole_and_have_one_writer(tmp_path: Path) -> None:
    assert without_posix(WRITES, tmp_path) == "['file', 'folder', 'kept']\n"


def test_a_bundle_is_checked_and_answers(tiny_bundle: Path, tmp_path: Path) -> None:
    script = "sys.argv[0] = 'nextomni-edge'\nfrom nextomni_edge.cli import main\nmain()"
    assert "ok" in without_posix(script, "doctor", tiny_bundle)
    drawn = tmp_path / "drawn.png"
    without_posix(script, "run", tiny_bundle, "--text", "a cat", "--to", "image", "-o", drawn)
    assert drawn.read_bytes().startswith(b"\x89PNG")
