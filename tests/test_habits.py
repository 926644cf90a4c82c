"""What the house keeps to: where tests take their things from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sources import ROOT

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
