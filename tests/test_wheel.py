"""The wheel holds the package, whole, and nothing beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.test_layers import MODULES, PACKAGE, ROOT


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that a build reads: it writes next to them."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = (
        PACKAGE,
        "calibration",
        "export",
        "runtimes",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "NOTICE",
    )
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if name.split("/")[0] in wanted and (path.is_symlink() or path.is_file()):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                target.symlink_to(path.readlink())
            else:
                target.write_bytes(path.read_bytes())
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: setuptools is in the environment."""
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-q",
        "-w",
        out,
        source,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (built,) = out.glob("*.whl")
    return built


def test_the_only_top_level_name_is_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {PACKAGE}


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
    assert inside == expected | {f"{PACKAGE}/__init__.py"}


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


def test_a_type_checker_follows_an_editable_install(source: Path, tmp_path: Path) -> None:
    """Installed as `pip install -e` does it, in an environment of its own."""
    build = "import sys, setuptools.build_meta as backend; backend.build_editable(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, tmp_path], cwd=source, check=True, capture_output=True
    )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(site)
    user = tmp_path / "user.py"
    user.write_text("import nextomni_edge as ne\nreveal_type(ne.load('a'))\nne.load(7)\n")
    python = str(tmp_path / "env" / "bin" / "python")
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", python, "user.py"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'Revealed type is "nextomni_edge.api.model.Model"' in ended.stdout, ended.stdout
    assert 'user.py:3: error: Argument 1 to "load" has incompatible type "int"' in ended.stdout
