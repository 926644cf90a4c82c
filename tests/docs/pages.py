"""The pages that people read, and the fenced blocks in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[Path, list[str]], str]  # a command in a folder, and what it prints
ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("start", "search", "serve", "your-model", "devices", "browser", "quantise")
    ),
    *(ROOT / "docs" / f"{name}.md" for name in ("api", "performance", "published", "quality")),
]
EXPORT = "nextomni-edge export examples/emoji/checkpoint -o demo/bundle"
FENCE = re.compile(
    r"^( *)```(\w*)(?: title=\"([^\"\n]*)\")?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines, and in `needs` what it needs that an installed
    package does not have."""

    page: Path
    language: str
    needs: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def every_page() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for indent, language, title, text in FENCE.findall(page.read_text(encoding="utf-8")):
        lines = tuple(line.removeprefix(indent) for line in text.splitlines())
        needs = title if title.startswith("Needs ") else ""
        yield Block(page, language, needs, lines)


def prose(page: Path) -> str:
    """A page's text without fenced blocks and HTML comments."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
