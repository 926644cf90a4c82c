"""Code blocks of README and docs: run in order, or parsed where a title says what they need."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from nextomni_edge.cli.root import VERBS, root
from tests.docs.pages import PAGES, ROOT, Block, blocks, every_page

LANGUAGES = {"sh", "python", "text", "bash", "fish"}  # the last two are lines for a start file
EXPORT = "nextomni-edge export examples/emoji/checkpoint -o demo/bundle"
PRINTS = re.compile(r"\s+# prints: (.+)$")
# blocks that a test does not run, each with its reason in its title
NOT_RUN = 19

Made = Callable[[str, Callable[[Path], object]], Path]


def commands(block: Block) -> list[str]:
    return [line for line in block.lines if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `nextomni-edge` and `python`, both of this tree."""
    folder = tmp_path_factory.mktemp("bin")
    for name, arguments in (("nextomni-edge", "-m nextomni_edge "), ("python", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        script.chmod(0o755)
    return folder


def run(programs: Path, folder: Path, command: list[str]) -> str:
    """What a command prints on standard output; it must end with 0."""
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def demo_bundle(made_once: Made, programs: Path) -> Path:
    """The bundle that README's first command makes."""

    def make(out: Path) -> None:
        workspace = out.with_name("workspace")
        shutil.rmtree(workspace, ignore_errors=True)
        shutil.copytree(ROOT / "examples", workspace / "examples")
        (workspace / "demo").mkdir()
        run(programs, workspace, ["bash", "-c", EXPORT])
        (workspace / "demo" / "bundle").rename(out)

    return made_once("demo", make)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, demo_bundle: Path) -> Path:
    """A copy of what the commands read, for all pages."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copytree(demo_bundle, folder / "demo" / "bundle")
    return folder


@pytest.fixture(scope="module")
def done() -> set[str]:
    """What has been run in the workspace; the fixture's command has."""
    return {EXPORT}


def run_page(page: Path, workspace: Path, programs: Path, done: set[str]) -> None:
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
            printed = run(programs, workspace, [*shell, command])
            done.add(command)
            if expected and not python:
                assert expected[1] in printed, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.timeout(900)
def test_every_block_of_a_page_runs_in_order(
    page: Path, workspace: Path, programs: Path, done: set[str]
) -> None:
    for earlier in PAGES[: PAGES.index(page) + 1]:
        run_page(earlier, workspace, programs, done)


def test_every_block_has_a_language_and_those_that_do_not_run_are_counted() -> None:
    found = [block for page in every_page() for block in blocks(page)]
    assert {block.language for block in found} <= LANGUAGES
    runnable = [block for block in found if block.language in ("sh", "python")]
    assert {block.page for block in runnable} <= set(PAGES)
    assert sum(bool(block.needs) for block in runnable) == NOT_RUN


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
