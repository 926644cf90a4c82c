"""Every example of the front door's docstrings runs, and what it shows is so."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import nextomni_edge
import nextomni_edge.api

MODULES = [
    "nextomni_edge",
    "nextomni_edge.search",
    *(
        f"nextomni_edge.api.{found.name}"
        for found in pkgutil.iter_modules(nextomni_edge.api.__path__)
    ),
]
FINDER = doctest.DocTestFinder()
EXAMPLES = [
    found
    for name in MODULES
    for found in FINDER.find(importlib.import_module(name), name)
    if found.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
@pytest.mark.usefixtures("clone")
def test_an_example_shows_what_happens(example: doctest.DocTest) -> None:
    told: list[str] = []
    runner = doctest.DocTestRunner()
    assert runner.run(example, out=told.append).failed == 0, "".join(told)


@pytest.mark.parametrize(
    "name",
    ["load", "Model.generate", "Model.stream", "Model.chat", "Model.embed", "Answer", "Image"],
)
def test_what_a_stranger_meets_first_has_an_example(name: str) -> None:
    assert any(example.name.endswith(f".{name}") for example in EXAMPLES)


def test_the_package_s_own_page_runs(clone: Path) -> None:
    """The lines of the module's docstring that are indented, those of export aside: the tiny model
    has no directory here."""
    text = nextomni_edge.__doc__ or ""
    lines = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
    script = "\n".join(line for line in lines if not line.startswith(("ne.export", "ne.verify")))
    script = script.replace("step.answer.image.show()", "seen = step.answer.image")
    script = script.replace('"my-bundle"', '"demo/bundle"')
    exec(compile(script, "the docstring", "exec"), {})
    assert (clone / "rocket.png").is_file() and (clone / "rocket.wav").is_file()
    assert (clone / "my-int8" / "manifest.json").is_file()
