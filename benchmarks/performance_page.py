"""Bring the tables of docs/performance.md and docs/published.md up to the measured numbers: `python
benchmarks/performance_page.py`.

A table stands between `<!-- NAME -->` and `<!-- end -->`. One whose JSON is not there is left as it
is, and named.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import autoregressive_report
import caches
import diffusion_peer
import masked_caches
import omnivoice_speed
import peer_7b
import projection
import second_start
import shortcuts
import two_paths

from nextomni_edge.files import atomic_write

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "emoji"
PAGE = HERE.parent / "docs" / "performance.md"


def _twins(path: Path) -> str:
    """The table of examples/emoji/twins.py, which imports its neighbours by bare name."""
    sys.path.insert(0, str(EXAMPLE))
    from twins import table

    return table(_read(path)["tasks"])


def _forwards(path: Path) -> str:
    """The table of forwards.py, which imports the example's modules."""
    import forwards

    return forwards.table(_read(path))


def _published(path: Path) -> str:
    """The table of examples/published_8b.py."""
    sys.path.insert(0, str(HERE.parent / "examples"))
    from published_8b import table

    return table(_read(path)["stages"])


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


TABLES: dict[str, tuple[Path | None, Callable[[Path], str]]] = {
    "shortcuts": (HERE / "shortcuts.json", lambda path: shortcuts.table(_read(path))),
    "forwards": (HERE / "forwards.json", _forwards),
    "caches": (HERE / "caches.json", lambda path: caches.table(_read(path))),
    "twins": (EXAMPLE / "twins.json", _twins),
    "two-paths": (HERE / "two_paths.json", lambda path: two_paths.table(_read(path))),
    "peer-7b": (HERE / "peer_7b.json", lambda path: peer_7b.page(_read(path))),
    "second-start": (
        HERE / "second_start.json",
        lambda path: second_start.table(_read(path)["ways"]),
    ),
    "autoregressive": (HERE / "autoregressive.json", autoregressive_report.report),
    "devices": (None, lambda _: projection.rates()),
    "projection": (None, lambda _: projection.table()),
}


PUBLISHED: dict[str, tuple[Path | None, Callable[[Path], str]]] = {
    "masked-caches": (HERE / "masked_caches.json", lambda path: masked_caches.table(_read(path))),
    "published-8b": (HERE / "published_8b.json", _published),
    "omnivoice": (HERE / "omnivoice_speed.json", lambda path: omnivoice_speed.table(_read(path))),
    "diffusion-peer": (
        HERE / "diffusion_peer.json",
        lambda path: diffusion_peer.table(_read(path)["rows"]),
    ),
}
PAGES = {PAGE: TABLES, PAGE.with_name("published.md"): PUBLISHED}


def filled(
    page: str, tables: Mapping[str, tuple[Path | None, Callable[[Path], str]]] = TABLES
) -> str:
    """The page with every table whose numbers are there; SystemExit: the page has no place, or
    several, for one."""
    for name, (path, table) in tables.items():
        if path and not path.exists():
            print(f"{path} is not there: the table {name} stays as it is", file=sys.stderr)
            continue
        lines = f"<!-- {name} -->\n\n{table(path or HERE)}\n\n<!-- end -->"
        page, count = re.subn(
            f"<!-- {name} -->.*?<!-- end -->", lambda _, lines=lines: lines, page, flags=re.DOTALL
        )
        if count != 1:
            raise SystemExit(f"docs: {count} places for the table {name}, expected one")
    return page


def main() -> None:
    for path, tables in PAGES.items():
        page = filled(path.read_text(encoding="utf-8"), tables)
        with atomic_write(path, "w") as file:
            file.write(page)


if __name__ == "__main__":
    main()
