"""How old each measurement is: `python benchmarks/ages.py` prints a line for each file of results.

A line holds the revision at which the results were written, the commits since that changed code
which the measuring script imports or the demo's weights, and the pages that show the numbers.
"""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = "nextomni_edge"
CHECKPOINT: Final = ROOT / "examples" / "emoji" / "checkpoint" / "model.safetensors"
# words of a script that measures the demo
DEMO: Final = ("demo/bundle", "demo_bundle", '"demo" / "bundle"', "emoji")
# results whose script stands elsewhere: the script, and the words of a page that shows them
ELSEWHERE: Final = {
    "benchmarks/published_8b.json": ("examples/published_8b.py", "make demo-published"),
    "benchmarks/runtime_speed_one_thread.json": (
        "benchmarks/runtime_speed.py",
        "runtime_speed.py --threads 1",
    ),
    "benchmarks/second_start_7b.json": ("benchmarks/second_start.py", "second_start.py build/"),
    "demo/eval.json": ("examples/emoji/exam.py", "make eval"),
}


@dataclass(frozen=True)
class Age:
    """Results, the revision and the day that they are of, and commits to the code behind them
    since."""

    results: str
    revision: str
    day: str
    later: int
    pages: tuple[str, ...]

    def __str__(self) -> str:
        since = f"{self.later} commits to its code since" if self.later else "its code is the same"
        shown = ", ".join(self.pages) or "no page"
        return f"{self.results}: {self.revision} of {self.day}, {since}; {shown}"


def git(*words: str | Path) -> str:
    done = subprocess.run(
        ["git", *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def whole_history() -> bool:
    """Whether git is here, with all commits: else nothing can be told."""
    try:
        return git("rev-parse", "--is-shallow-repository") == "false"
    except (OSError, subprocess.CalledProcessError):
        return False


def script_of(results: str) -> Path:
    """What wrote the results."""
    elsewhere = ELSEWHERE.get(results)
    return ROOT / (elsewhere[0] if elsewhere else results.replace(".json", ".py"))


def code_of(script: Path) -> list[Path]:
    """The package's modules that a script imports, itself included, and the demo's weights where it
    measures them."""
    source = script.read_text(encoding="utf-8")
    found = [script, CHECKPOINT] if any(word in source for word in DEMO) else [script]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == PACKAGE:
            place = ROOT.joinpath(*str(node.module).split("."))
            found.append(place.with_suffix(".py") if not place.is_dir() else place / "__init__.py")
    return [path.resolve() for path in found if path.exists()]


def ages() -> list[Age]:
    """All results that the repository keeps, the oldest first."""
    found = []
    pages = {page: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}
    for results in git("ls-files", "benchmarks/*.json", "demo/eval.json").splitlines():
        script = script_of(results)
        revision, day = git("log", "-1", "--format=%h %as", "--", results).split()
        later = git("rev-list", "--count", f"{revision}..HEAD", "--", *code_of(script))
        words = (results, ELSEWHERE[results][1] if results in ELSEWHERE else script.name)
        shown = sorted(page.stem for page, text in pages.items() if any(w in text for w in words))
        found.append(Age(results, revision, day, int(later), tuple(shown)))
    return sorted(found, key=lambda age: age.day)


if __name__ == "__main__":
    print("\n".join(map(str, ages())))
