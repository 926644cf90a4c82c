"""The documentation: pages that build without a warning, citations and files that exist."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

CITATION = re.compile(r"\bMETHOD (\d+)(?:(?:,| and|\.) ?(\d+)\b)?(?:'s)?|\bMETHOD\b")
DESIGN = re.compile(r"\bDESIGN\b(?:, ([a-z ]+))?")
SOURCES = ("nextomni_edge", "export", "runtimes", "calibration", "tests", "benchmarks", "examples")
QUESTIONS = 15


def sources() -> list[Path]:
    """Every Python file, once: the three folders that are linked into the package as themselves."""
    found = (path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if path.resolve() == path and "docs" not in path.parts]


def anchors(page: str) -> set[str]:
    return set(re.findall(r"\{ #([a-z0-9-]+) \}", (ROOT / "docs" / page).read_text()))


def test_every_citation_of_the_method_resolves_to_a_section() -> None:
    sections, found = anchors("method.md"), 0
    for path in sources():
        for match in CITATION.finditer(" ".join(path.read_text(encoding="utf-8").split())):
            assert match[1], f"{path}: METHOD without a section: {match[0]}"
            for number in filter(None, match.groups()):
                assert f"method-{number}" in sections, f"{path}: METHOD {number}"
                found += 1
    assert found >= 35


def test_every_citation_of_the_design_resolves_to_a_section() -> None:
    sections, found = anchors("design.md"), 0
    for path in sources():
        for match in DESIGN.finditer(" ".join(path.read_text(encoding="utf-8").split())):
            assert match[1], f"{path}: DESIGN without a section"
            words = match[1].split()
            names = {"-".join(["design", *words[:count]]) for count in range(1, len(words) + 1)}
            assert names & sections, f"{path}: DESIGN, {match[1]}"
            found += 1
    assert found >= 2


def rows() -> list[tuple[str, str, str]]:
    """The questions of docs/design.md: what is sought, its file, and a name in it."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = text[text.index("#design-where") :]
    return re.findall(r"^\| ([^|]+?) \| `([^`|]+)` \| `([^`|]+)` \|$", table, re.MULTILINE)


def test_there_are_fifteen_questions() -> None:
    assert len(rows()) == QUESTIONS


@pytest.mark.parametrize(("question", "file", "name"), rows())
def test_the_answer_to_where_is_a_file_that_defines_the_name(
    question: str, file: str, name: str
) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.*=", text, re.MULTILINE)


def test_readme_is_short_and_its_lines_are() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 120


def test_every_link_of_a_page_outside_the_site_points_to_a_file() -> None:
    for page in ROOT.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_site_builds_strict_and_needs_no_outside_address(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs builds the site; `make docs` installs it")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    loaded = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="?(https?://[^" >]+)')
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        assert not [
            address
            for address in loaded.findall(page.read_text(encoding="utf-8"))
            if "canonical" not in address
        ], page


def test_the_drawings_are_what_the_script_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("drawings", ROOT / "docs" / "drawings.py")
    assert spec is not None and spec.loader is not None
    drawings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawings)
    committed = drawings.OUT
    monkeypatch.setattr(drawings, "OUT", tmp_path)
    drawings.main()
    for path in sorted(tmp_path.iterdir()):
        assert path.read_text() == (committed / path.name).read_text(), path.name
    assert len(list(tmp_path.iterdir())) == 5
