"""The environments of `make test-floors` hold the ends of what pyproject.toml allows."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests import floors
from tests.sources import MODULES


def named(end: str) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in floors.lines(end):
        requirement = Requirement(line)
        found.setdefault(requirement.name.lower(), []).append(requirement)
    return found


def test_the_lowest_end_pins_every_library_to_its_lower_bound() -> None:
    for name, requirements in named("lowest").items():
        operators = {each.operator for found in requirements for each in found.specifier}
        assert "==" in operators, name


@pytest.mark.parametrize(
    ("line", "pinned"),
    [
        ("click>=8.2", "click==8.2"),
        ("tokenizers>=0.21,<1", "tokenizers==0.21"),
        ("numpy<2.4", "numpy<2.4"),
        ("torch==2.13.0", "torch==2.13.0"),
        ("onnx>=1.21; python_version < '4'", 'onnx==1.21; python_version < "4"'),
    ],
)
def test_a_lower_bound_becomes_the_version(line: str, pinned: str) -> None:
    assert str(floors.lowest(Requirement(line))) == pinned


@pytest.mark.parametrize("end", floors.ENDS)
def test_each_end_allows_what_the_package_needs(end: str) -> None:
    found = named(end)
    assert {"click", "av", "numpy", "pillow", "onnxruntime", "tokenizers", "torch"} <= found.keys()
    assert found["torch"][0].specifier.contains("2.13.0")


@pytest.mark.parametrize(
    ("end", "version"), [("transformers4", "4.57.1"), ("transformers5", "5.0")]
)
def test_an_end_of_transformers_is_one_major_version(end: str, version: str) -> None:
    (requirement,) = named(end)["transformers"]
    assert requirement.specifier.contains(Version(version))
    assert not requirement.specifier.contains("3.0") and not requirement.specifier.contains("6.0")


def test_the_package_asks_for_python_3_10_and_no_newer() -> None:
    """By the syntax and the standard library that its files use."""
    tool = Path(sys.executable).with_name("vermin")
    command = [str(tool), "--target=3.10-", "--no-tips", "--violations"]
    ended = subprocess.run(
        [*command, *sorted(map(str, MODULES.values()))], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
    project = tomllib.loads(floors.PYPROJECT.read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.10"
