"""`pack --for jetson`: what the archive holds, and what its script does, run with stand-ins for the
device's commands."""

from __future__ import annotations

import configparser
import getpass
import os
import shlex
import shutil
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
from tests.sources import MODULES, ROOT

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
    unpacked: Path,
    tmp_path: Path,
    *arguments: str,
    tensorrt: str = "true",
    doctor: str = "true",
    **variables: str,
) -> tuple[int, str, list[str]]:
    """(exit code, all that was printed, the commands that the stand-ins were given)."""
    log, python = tmp_path / "log", tmp_path / "python3"
    python.write_text(STAND_IN.format(log=log, tensorrt=tensorrt, doctor=doctor), encoding="utf-8")
    python.chmod(0o755)
    ended = subprocess.run(
        [unpacked / "install.sh", *arguments, tmp_path / "environment"],
        env=os.environ | {"PYTHON": str(python)} | variables, capture_output=True, text=True,
        check=False,
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
    order = ["-m venv", "pip install", " doctor", " compile ", " verify ", "write_unit", " run "]
    assert code == 0 and not given and not (tmp_path / "environment").exists()
    assert len(steps) == 7 and all(word in step for word, step in zip(order, steps, strict=True))


def test_the_steps_run_in_their_order(unpacked: Path, tmp_path: Path) -> None:
    code, said, given = install(unpacked, tmp_path)
    assert code == 0, said
    assert [line.split()[:2] for line in given] == [
        ["python3", "-m"], ["python", "-m"], ["nextomni-edge", "doctor"],
        ["nextomni-edge", "compile"], ["nextomni-edge", "verify"], ["nextomni-edge", "run"],
    ]  # fmt: skip
    assert given[-1].endswith(f"--cache {unpacked}/engines --text what is this?")
    assert 'the model says to "what is this?":' in said


def test_the_service_serves_the_bundle_from_where_it_lies(unpacked: Path, tmp_path: Path) -> None:
    code, said, _ = install(unpacked, tmp_path)
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(unpacked / "nextomni-edge.service")
    started = shlex.split(unit["Service"]["ExecStart"])
    assert code == 0 and f"sudo cp {unpacked}/nextomni-edge.service" in said
    assert started[0] == f"{tmp_path}/environment/bin/nextomni-edge"
    assert started[1:3] == ["serve", f"{unpacked}/bundle"] and "--host" not in started
    assert unit["Service"]["User"] == getpass.getuser() and "@" not in unit["Service"]["ExecStart"]
    assert started[3:] == ["--runtime", "tensorrt", "--cache", f"{unpacked}/engines"]


def test_help_is_a_page_and_an_unknown_option_a_line(unpacked: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [unpacked / "install.sh", "--help"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0 and ended.stderr == ""
    for word in ("usage: ./install.sh", "--dry-run", "PYTHON", "WHEELS", "PROMPT", "Exit codes"):
        assert word in ended.stdout
    code, said, given = install(unpacked, tmp_path, "--wet-run")
    assert code == 2 and not given
    assert said == "error: found option --wet-run, expected --dry-run or --help\n"


def test_wheels_that_lie_there_are_all_that_is_asked(unpacked: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(unpacked, own, symlinks=True)
    (own / "wheels").mkdir()
    for variables, folder in (({}, f"{own}/wheels"), ({"WHEELS": "/stick"}, "/stick")):
        code, said, given = install(own, tmp_path, **variables)
        asked = [line for line in given if "pip install" in line][-1]
        assert code == 0 and f"--no-index --find-links {folder} " in asked, said


def test_the_licence_and_the_notice_are_in_the_archive_and_its_wheel(unpacked: Path) -> None:
    (wheel,) = unpacked.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in ("LICENSE", "NOTICE"):
            text = (ROOT / name).read_bytes()
            (inside,) = [each for each in archive.namelist() if each.endswith(f"licenses/{name}")]
            assert (unpacked / name).read_bytes() == archive.read(inside) == text


def test_the_power_mode_is_told_where_there_are_some(unpacked: Path, tmp_path: Path) -> None:
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/bash\necho 'NV Power Mode: 15W'\n", encoding="utf-8")
    tool.chmod(0o755)
    _, said, _ = install(unpacked, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert said.startswith("power: NV Power Mode: 15W; for the shortest builds and steps: sudo nv")


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
