"""Every sentence of SECURITY.md on what a bundle cannot do names a test that is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PART = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("## ")[2]
SENTENCES = [line for line in PART.splitlines() if line.startswith("- ")]


@pytest.mark.parametrize("line", SENTENCES)
def test_a_sentence_has_its_test(line: str) -> None:
    found = re.fullmatch(r"- [A-Z].*\. \(`tests/([a-z_/]+)\.py`: (.+)\)", line)
    assert found, line
    module = importlib.import_module(f"tests.{found[1].replace('/', '.')}")
    if found[2].startswith('"'):
        assert found[2].strip('"') in [name for name, _, _ in module.CASES]
    else:
        assert callable(getattr(module, found[2]))


def test_there_are_sentences() -> None:
    assert len(SENTENCES) >= 20
