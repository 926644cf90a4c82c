"""The wheel holds the whole package and nothing else; an editable install shows its types."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from tests.sources import MODULES, PACKAGE

OPTIMUM = "optimum/commands/register/register_nextomni_edge.py"


def test_the_only_top_level_names_are_the_package_and_one_file_in_optimum_s_namespace(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {PACKAGE, "optimum"}
    # no __init__.py: optimum and its other packages share the folders
    assert [name for name in names if name.startswith("optimum/")] == [OPTIMUM]


def test_every_module_is_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.endswith(".py")}
    expected = set[str]()
    for module, path in MODULES.items():
        name = module.replace(".", "/")
        expected.add(
            f"{PACKAGE}/{name}/__init__.py"
            if path.name == "__init__.py"
            else f"{PACKAGE}/{name}.py"
        )
    assert inside == expected | {f"{PACKAGE}/__init__.py", OPTIMUM}


def test_the_wheel_says_that_it_is_typed_names_its_command_and_carries_its_licence(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "nextomni-edge = nextomni_edge.cli:main" in archive.read(points).decode()
    assert f"{PACKAGE}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names) and any(
        name.endswith("licenses/NOTICE") for name in names
    )


def test_the_default_dependencies_are_a_devices(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    required = [
        line.removeprefix("Requires-Dist: ")
        for line in lines
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    names = {line.split(">")[0].split("=")[0].split("<")[0].strip().lower() for line in required}
    assert names == {
        "array-api-compat",
        "av",
        "click",
        "numpy",
        "pillow",
        "rich",
        "safetensors",
        "soundfile",
        "tokenizers",
    }


USER = """
from nextomni_edge.runtimes.base import RUNTIMES
from nextomni_edge.spec import GraphSpec
reveal_type((RUNTIMES, GraphSpec))
"""


def test_a_type_checker_reads_the_types_of_an_editable_install(
    package_sources: Path, tmp_path: Path
) -> None:
    """As `pip install -e .` does it: the wheel that setuptools makes for an editable install,
    unpacked into an environment of its own."""
    build = "import sys, setuptools.build_meta as b; b.build_editable(sys.argv[1])"
    command = [sys.executable, "-c", build, tmp_path]
    subprocess.run(command, cwd=package_sources, capture_output=True, check=True)
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(site)
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    options = ["--strict", "--python-executable", python, "--cache-dir", tmp_path / "cache"]
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "user.py"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "nextomni_edge.spec.GraphSpec" in ended.stdout and "Any" not in ended.stdout
