"""The workspace in which the commands of README and docs run, and the programs that they name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import EXPORT, ROOT, Run

Made = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which `nextomni-edge` and `python` are of this tree, with a cache of their
    own: what `bench --choose` keeps is the user's."""
    folder = tmp_path_factory.mktemp("bin")
    for name, arguments in (("nextomni-edge", "-m nextomni_edge "), ("python", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }


@pytest.fixture(scope="session")
def run(environment: dict[str, str]) -> Run:
    """Runs a command in a folder and gives what it prints; the command must end with 0."""

    def runs(folder: Path, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stderr[-2000:]}"
        return done.stdout

    return runs


@pytest.fixture(scope="session")
def demo_bundle(made_once: Made, run: Run) -> Path:
    """The bundle that README's first command makes."""

    def make(out: Path) -> None:
        workspace = out.with_name("workspace")
        shutil.rmtree(workspace, ignore_errors=True)
        shutil.copytree(ROOT / "examples", workspace / "examples")
        (workspace / "demo").mkdir()
        run(workspace, ["bash", "-c", EXPORT])
        (workspace / "demo" / "bundle").rename(out)

    return made_once("demo", make)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, demo_bundle: Path) -> Path:
    """A copy of what the commands read, for all blocks of a module."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copytree(demo_bundle, folder / "demo" / "bundle")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks")
    return folder
