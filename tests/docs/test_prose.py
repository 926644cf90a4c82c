"""Plain words: phrases that a fluent reader stumbles on, and sentences that are too long."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, every_page, prose

LONGEST = 30  # words of a sentence
# Each phrase, and what to write instead.
BANNED = {
    r"\banew\b": "again",
    r"\bbeside\b": "next to",
    r"\b(?:has|have|had) (?:it|them|none) not\b": "does not support it",
    r"\bhas not$|\bhave not$|, which \S+ has not\b": "does not have",
    r"(?<!let )(?<!\bstand )\balone\b": "only",
    r"\b[Oo]f it weights\b": "its weights",
    r"\bof another \w+ than\b": "of a different … from",
    r"\bno less than\b": "at least",
    r"\b[Tt]he same where\b": "say the whole sentence",
    r"\ball else alike\b": "everything else equal",
    r"\boftener\b": "more often",
    r"\bwhereto\b": "where to",
    r"\btells? of\b": "say what it tells",
    r"\bof itself\b": "by itself",
    r"\bis told\b|\bare told\b": "say who tells",
    r"\ba \w+ of its own layout\b": "its own layout",
}
PAGES = every_page()


def sentences(text: str) -> list[str]:
    """The sentences of a Markdown page: tables, headings and code left out, a list item one
    paragraph."""
    text = re.sub(r"^ *(\||#|!\[|:::|--8<--|===).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "Code", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^ *(?:[-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    return [
        sentence
        for paragraph in paragraphs
        for sentence in re.split(r"(?<=[.!?])[)*\"”]? (?=[A-Z0-9\"“*[(])", paragraph)
        if sentence
    ]


def banned_in(text: str) -> list[str]:
    flat = " ".join(text.split())
    return [
        f"{flat[max(0, match.start() - 30) : match.end() + 20]!r}: write {instead!r}"
        for phrase, instead in BANNED.items()
        for match in re.finditer(phrase, flat)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_no_sentence_over_thirty_words(page: Path) -> None:
    long = [found for found in sentences(prose(page)) if len(found.split()) > LONGEST]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_no_phrase_that_the_rule_bans(page: Path) -> None:
    assert banned_in(prose(page)) == []


def test_the_rule_finds_what_it_bans() -> None:
    for old in (
        "the Swift loop has it not",
        "compute the prompt's rows anew",
        "a folder beside the bundle",
        "INT8 and INT4 on one CPU alone",
        "of another token than its keys and values are of",
        "A score of no less than the twin's",
        "of it weights",
        "The same where there must be one.",
    ):
        assert banned_in(old), old
    assert [len(found.split()) for found in sentences("word " * 31 + ".\n\n- one two.")] == [32, 2]


def sources() -> list[Path]:
    """The package's files, once: three of its folders are links."""
    found = [
        path
        for folder in ("nextomni_edge", "export", "runtimes", "calibration")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.resolve() == path
    ]
    assert len(found) > 200
    return found


def told(path: Path) -> list[str]:
    """What a file tells people: docstrings, help, errors and comments, without code in quotes."""
    text = path.read_text(encoding="utf-8")
    strings = [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]
    comments = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    return [re.sub(r"`[^`]*`", "Code", said) for said in (*strings, *comments)]


def test_the_package_has_no_phrase_that_the_rule_bans() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {phrase}"
        for path in sources()
        for said in told(path)
        for phrase in banned_in(said)
    }
    assert sorted(found) == []
