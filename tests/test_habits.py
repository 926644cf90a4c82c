"""What the house keeps to: where tests take their things from."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.sources import PACKAGE, ROOT, imports

SHARED = re.compile(
    r"^(?:from|import) tests(?:\.\w+)*(?:\.| import .*?\b)(?:test_\w+|conftest)\b", re.MULTILINE
)


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "tests").rglob("*.py")),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_file_imports_a_test_file_or_a_conftest(path: Path) -> None:
    """pytest itself finds the fixtures of a conftest. What is shared and is no fixture stands in a
    plain module. Scripts inside strings count too."""
    found = SHARED.search(path.read_text(encoding="utf-8"))
    assert not found, f"{path}: {found[0]}: move what is shared to a conftest or a plain module"


def device_tests() -> list[Path]:
    """The files that the workflow runs where a device's libraries are all that is installed."""
    workflow = (ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +(tests/\S+)$", workflow, re.MULTILINE)
    paths = [ROOT / name for name in named]
    return [file for path in paths for file in ([path] if path.suffix else path.glob("test_*.py"))]


@pytest.mark.parametrize("path", device_tests(), ids=lambda path: path.stem)
def test_the_tests_of_a_device_need_what_a_device_has(path: Path) -> None:
    libraries = {name.split(".")[0] for name, _ in imports(path, top=False)}
    tools = {*sys.stdlib_module_names, PACKAGE, "tests", "pytest", "hypothesis"}
    device = {"av", "click", "numpy", "PIL", "rich", "safetensors", "soundfile", "tokenizers"}
    assert libraries <= tools | device


def hooks() -> str:
    return (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def test_the_hooks_fetch_nothing() -> None:
    assert set(re.findall(r"repo: (\S+)", hooks())) == {"local"}
    assert set(re.findall(r"entry: (\S+?)/", hooks())) == {".venv"}


def test_ci_runs_lint_types_docs_and_tests() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    wanted = ["lint", "types", "docs", "test"]
    assert re.findall(r"make (\w+)", run) == wanted
    assert f"\ncheck: {' '.join(wanted)}\n" in makefile
    for target in (*wanted, "fmt", "clean", "coverage"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
