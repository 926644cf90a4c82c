"""What the house keeps to: where tests take their things from."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

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


OPENS = re.compile(
    r"\.read_bytes\(|\.read_text\(|\bopen\(\)|\bopen\(\"rb\"\)|memmap\(\s*(?:\w+\.)?path\b"
)
# What opens a file that no stranger made, and the door itself.
OWN_FILES: Final = {
    "nextomni_edge/api/answer.py": "a file that was just written",
    "nextomni_edge/bundle/trust.py": "a signature that was just written",
    "nextomni_edge/files.py": "compares outputs that were just written",
    "nextomni_edge/measure/timing.py": "counters of the kernel",
    "nextomni_edge/pack/android.py": "the package's own sources",
    "nextomni_edge/pack/ios.py": "the package's own sources",
    "nextomni_edge/pack/jetson.py": "the package's own script",
    "nextomni_edge/pack/wheel.py": "the installed package",
    "nextomni_edge/serve/routes/about.py": "the installed page",
    "nextomni_edge/tokens/languages.py": "the installed table",
    "calibration/data/collect.py": "settings in an output that an interrupted run left",
    "calibration/report/kept.py": "settings in an output that an interrupted run left",
    "runtimes/machine.py": "the kernel's list of processors",
    "runtimes/onnx/ort_format.py": "a list that was just written",
}


def test_files_of_strangers_are_opened_by_one_door() -> None:
    """`formats/regular.py` refuses FIFOs, devices and files that are too large."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in (PACKAGE, "calibration", "export", "runtimes")
        for path in (ROOT / folder).rglob("*.py")
        if OPENS.search(path.read_text(encoding="utf-8"))
    }
    assert found == OWN_FILES.keys()


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
    calls = re.findall(r"^(?:exec )?make (.+)$", run, re.MULTILINE)
    assert [word for call in calls for word in call.split() if word[0] != "-"] == wanted
    assert f"\ncheck: {' '.join(wanted)}\n" in makefile
    for target in (*wanted, "fmt", "clean", "coverage"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
