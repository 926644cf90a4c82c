"""`pack --for jetson`: what the archive holds, and what its script does, run with stand-ins for the
device's commands."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.pack import pack
from nextomni_edge.pack.wheel import package_wheel
from tests.sources import MODULES

STAND_IN = """#!/bin/bash
echo "$(basename "$0") $*" >> {log}
case "$*" in
"-m venv "*) mkdir -p "${{@: -1}}/bin"; cp "$0" "${{@: -1}}/bin/python"
    cp "$0" "${{@: -1}}/bin/nextomni-edge";;
*"import tensorrt"*) {tensorrt};;
"doctor"*) {doctor};;
esac
"""


@pytest.fixture(scope="module")
def unpacked(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jetson")
    pack(Bundle.open(tiny_bundle), folder / "edge.tar", "jetson")
    with tarfile.open(folder / "edge.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder / "edge"


def install(
    unpacked: Path, tmp_path: Path, *arguments: str, tensorrt: str = "true", doctor: str = "true"
) -> tuple[int, str, list[str]]:
    """(exit code, all that was printed, the commands that the stand-ins were given)."""
    log, python = tmp_path / "log", tmp_path / "python3"
    python.write_text(STAND_IN.format(log=log, tensorrt=tensorrt, doctor=doctor), encoding="utf-8")
    python.chmod(0o755)
    ended = subprocess.run(
        [unpacked / "install.sh", *arguments, tmp_path / "environment"],
        env=os.environ | {"PYTHON": str(python)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    given = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return (
        ended.returncode,
        ended.stdout + ended.stderr,
        [line for line in given if " -c " not in line],
    )


def test_the_same_bundle_gives_the_same_archive(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pack(bundle, tmp_path / name / "edge.tar", "jetson")
    assert (tmp_path / "one" / "edge.tar").read_bytes() == (
        tmp_path / "two" / "edge.tar"
    ).read_bytes()


def test_the_bundle_inside_is_whole_and_the_script_may_run(unpacked: Path) -> None:
    assert Bundle.open(unpacked / "bundle").manifest.golden is not None
    assert (unpacked / "install.sh").stat().st_mode & 0o777 == 0o755


def test_the_wheel_inside_holds_every_module_and_its_command(unpacked: Path) -> None:
    (wheel,) = unpacked.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(
            next(name for name in names if name.endswith("entry_points.txt"))
        ).decode()
    # and the package's own __init__
    assert sum(name.endswith(".py") for name in names) == len(MODULES) + 1
    assert (
        "nextomni-edge = nextomni_edge.cli:main" in entry_points
        and "nextomni_edge/pack/install.sh" in names
    )
    assert wheel.name == package_wheel()[0]


def test_pip_takes_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    (wheel,) = unpacked.glob("*.whl")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "-q",
        "--target",
        tmp_path / "site",
        wheel,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "site" / "nextomni_edge" / "runtimes" / "base.py").is_file()


def test_the_script_is_right_for_bash(unpacked: Path) -> None:
    assert subprocess.run(["bash", "-n", unpacked / "install.sh"], check=False).returncode == 0


def test_a_dry_run_tells_every_step_and_does_none(unpacked: Path, tmp_path: Path) -> None:
    code, said, given = install(unpacked, tmp_path, "--dry-run")
    steps = [line for line in said.splitlines() if line.startswith("+ ")]
    order = ["-m venv", "pip install", " doctor", " compile ", " verify "]
    assert code == 0 and not given and not (tmp_path / "environment").exists()
    assert len(steps) == 5 and all(word in step for word, step in zip(order, steps, strict=True))


def test_the_steps_run_in_their_order(unpacked: Path, tmp_path: Path) -> None:
    code, said, given = install(unpacked, tmp_path)
    assert code == 0, said
    assert [line.split()[:2] for line in given] == [
        ["python3", "-m"], ["python", "-m"], ["nextomni-edge", "doctor"],
        ["nextomni-edge", "compile"], ["nextomni-edge", "verify"],
    ]  # fmt: skip
    assert said.splitlines()[-1].startswith("ready: ")


def test_nothing_is_compiled_where_doctor_fails(unpacked: Path, tmp_path: Path) -> None:
    code, _, given = install(unpacked, tmp_path, doctor="exit 5")
    assert code == 5 and given[-1] == "nextomni-edge doctor"


def test_a_python_without_tensorrt_is_told_in_one_line(unpacked: Path, tmp_path: Path) -> None:
    code, said, given = install(unpacked, tmp_path, tensorrt="exit 1")
    assert (
        code == 5
        and not given
        and said.count("\n") == 1
        and "sudo apt-get install python3-libnvinfer" in said
    )


def test_an_archive_that_exists_is_kept(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "edge.tar").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"exists; choose another name or pass --overwrite"):
        pack(Bundle.open(tiny_bundle), tmp_path / "edge.tar", "jetson")
    assert (tmp_path / "edge.tar").read_text(encoding="utf-8") == "mine"
