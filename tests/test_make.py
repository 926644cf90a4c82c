"""What `make` does before anything is installed, and what it leaves alone."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT


def make(
    folder: Path, *arguments: str, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`make` in a folder; `path` is the only place where it finds programs besides a shell's."""
    variables = {"PATH": str(path) if path else "/usr/bin:/bin"}
    found = shutil.which("make")
    assert found, "the tests need make"
    return subprocess.run(
        [found, *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the files that `make` needs and every folder that it cleans."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Makefile", ".gitignore", "pyproject.toml", "demo/eval.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def status(folder: Path) -> str:
    command = ["git", "status", "--porcelain", "--ignored", "-uall"]
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return "".join(line for line in listed.stdout.splitlines(True) if not line.startswith("A  "))


def test_clean_removes_what_was_made_and_nothing_that_is_tracked(checkout: Path) -> None:
    for name in (".venv/bin/python", "build/x", "dist/x", "demo/bundle/x", "x.egg-info/x"):
        (checkout / name).parent.mkdir(parents=True)
        (checkout / name).write_text("made")
    (checkout / "mine.txt").write_text("not made by make")
    assert status(checkout).count("!!") == 5
    assert make(checkout, "clean").returncode == 0
    assert status(checkout) == "?? mine.txt\n"
    assert (checkout / "demo" / "eval.json").is_file()


def pythons(folder: Path, **versions: str) -> Path:
    """A folder of programs: a shell, and Pythons that say they are of these versions."""
    folder.mkdir()
    for name in ("sh", "test", "echo"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    for name, answer in versions.items():
        (folder / name.replace("_", ".")).write_text(f"#!/bin/sh\n{answer}\n")
        (folder / name.replace("_", ".")).chmod(0o755)
    return folder


def test_the_first_python_that_is_new_enough_is_taken(checkout: Path, tmp_path: Path) -> None:
    """A name in PATH may be a stub that starts nothing, or an old Python."""
    real = f'exec {sys.executable} "$@"'
    path = pythons(tmp_path / "bin", python3_11="exit 127", python3_12="exit 1", python3_13=real)
    shown = make(checkout, "-n", "lint", path=path)
    assert "\npython3.13 -m venv .venv\n" in shown.stdout


def test_no_python_that_is_new_enough_is_one_line(checkout: Path, tmp_path: Path) -> None:
    ended = make(checkout, "lint", path=pythons(tmp_path / "bin", python3="exit 1"))
    assert ended.returncode == 2
    first, *rest = ended.stderr.splitlines()
    assert first.startswith("error: no Python 3.11 or newer was found; install one")
    assert all(line.startswith("make: ") for line in rest)


def test_without_swift_its_tests_say_what_is_missing(checkout: Path, tmp_path: Path) -> None:
    """Nothing is installed or made before that."""
    ended = make(checkout, "test-swift", path=pythons(tmp_path / "bin"))
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: no swift on PATH; install Swift 6")
    assert not (checkout / ".venv").exists()


def test_without_java_the_tests_of_kotlin_say_what_is_missing(
    checkout: Path, tmp_path: Path
) -> None:
    ended = make(checkout, "test-android", path=pythons(tmp_path / "bin"))
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: no java on PATH; install a JDK 17 or newer")


def needed(script: Path) -> list[str]:
    """Arguments without which a script does not run."""
    found = []
    for call in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
            (name,) = (arg.value for arg in call.args[:1] if isinstance(arg, ast.Constant))
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            positional = not str(name).startswith("-") and given.get("nargs") not in ("'?'", "'*'")
            if positional or given.get("required") == "True":
                found.append(str(name))
    return found


def test_every_script_that_make_bench_runs_needs_no_arguments() -> None:
    """One that does is named, and run by a line of its own or by hand."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (line,) = (line for line in makefile.splitlines() if line.startswith("NAMED := "))
    named = set(line.split()[2:])
    scripts = {path.stem: path for path in (ROOT / "benchmarks").glob("*.py")}
    assert named <= scripts.keys()
    assert {name: needed(path) for name, path in scripts.items() if needed(path)}.keys() <= named
