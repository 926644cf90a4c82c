"""Code blocks of README and docs, run in order; test_needs.py runs those that need something."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from nextomni_edge.cli.root import VERBS, root
from tests.docs.pages import EXPORT, PAGES, Block, Run, blocks, every_page

# bash and fish: lines for a start file
LANGUAGES = {"sh", "python", "text", "diff", "bash", "fish", "js"}
PRINTS = re.compile(r"\s+# prints: (.+)$")


def commands(block: Block) -> list[str]:
    return [line for line in block.lines if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def done() -> set[str]:
    """What has been run in the workspace; the fixture's command has."""
    return {EXPORT}


def run_page(page: Path, workspace: Path, run: Run, done: set[str]) -> None:
    """Run the blocks of a page in order, but for what an earlier page has run to the letter."""
    for block in blocks(page):
        if block.needs or block.language not in ("sh", "python"):
            continue
        python = block.language == "python"
        for line in [block.text] if python else commands(block):
            command, expected = PRINTS.sub("", line), PRINTS.search(line)
            if command in done:
                continue
            shell = ["python", "-c"] if python else ["bash", "-c"]
            printed = run(workspace, [*shell, command])
            done.add(command)
            if expected and not python:
                assert expected[1] in printed, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.timeout(900)
def test_every_block_of_a_page_runs_in_order(
    page: Path, workspace: Path, run: Run, done: set[str]
) -> None:
    for earlier in PAGES[: PAGES.index(page) + 1]:
        run_page(earlier, workspace, run, done)


def test_every_block_has_a_language_and_stands_on_a_page_that_is_run() -> None:
    found = [block for page in every_page() for block in blocks(page)]
    assert {block.language for block in found} <= LANGUAGES
    runnable = [block for block in found if block.language in ("sh", "python")]
    assert {block.page for block in runnable} <= set(PAGES)
    # tests/pack/test_web_page.py runs it in Chromium
    assert [block.page.stem for block in found if block.language == "js"] == ["browser"]


def invocations() -> list[tuple[str, str]]:
    """Each `nextomni-edge` command of a block, with its page."""
    found = []
    for page in every_page():
        for block in blocks(page):
            if block.language in ("sh", "python"):
                found += [
                    (page.stem, part.strip())
                    for line in commands(block)
                    for part in re.split(r"&&|\|", PRINTS.sub("", line))
                    if part.strip().startswith("nextomni-edge ")
                ]
    return found


@pytest.mark.parametrize(("page", "command"), invocations())
def test_every_command_of_a_page_is_one_that_the_command_line_knows(
    page: str, command: str
) -> None:
    verb, *arguments = shlex.split(command, comments=True)[1:]
    assert verb in VERBS
    parsed = root.get_command(click.Context(root), verb)
    assert parsed is not None
    context = click.Context(parsed, **parsed.context_settings)
    if isinstance(parsed, click.Group):
        name = arguments.pop(0) if arguments[0] in parsed.commands else "find"
        parsed = parsed.commands[name]
        context = click.Context(parsed, parent=context)
    values, _, _ = parsed.make_parser(context).parse_args(arguments)
    for parameter in parsed.params:
        if isinstance(parameter.type, click.Choice) and parameter.name in values:
            parameter.type_cast_value(context, values[parameter.name])


def test_a_command_with_an_unknown_option_is_found() -> None:
    with pytest.raises(click.NoSuchOption):
        test_every_command_of_a_page_is_one_that_the_command_line_knows(
            "page", "nextomni-edge run demo/bundle --colour red"
        )
