"""What every command shares: the common options, results on stdout, everything else on stderr,
progress in four forms."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar, cast

import click

from nextomni_edge.cli.streams import on_terminal, put, stderr, stderr_is, tell, to_stdout
from nextomni_edge.errors import printable
from nextomni_edge.outputs import refuse_overlap

Command = TypeVar("Command", bound=Callable[..., object])
Advance = Callable[[int, int, str], None]


class Output(click.Path):
    """The type of an option that names what a command writes: `common_options` refuses one that
    overlaps what the command reads."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)


OUTPUT: Final = Output()
PROGRESS: Final = ("auto", "plain", "json", "none")
PLAIN_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Line:
    """A line of a listing: `marked` in a style of rich's, such as "bold red", then `rest`."""

    marked: str
    rest: str = ""
    style: str = ""

    @property
    def text(self) -> str:
        return self.marked + self.rest


def say(text: str, err: bool = False) -> None:
    """Print a line on stdout, or on stderr, which may be closed. click.echo would write UTF-8 to a
    console that is ASCII. Control characters are escaped."""
    if err:
        tell(printable(text))
    else:
        put(printable(text))


@dataclass(frozen=True)
class Console:
    """The person's choice of output. `verbosity` is −1 for -q, 0, 1 for -v, 2 for -vv."""

    as_json: bool = False
    verbosity: int = 0
    progress_form: str = "auto"

    def result(self, data: object, text: str) -> None:
        """The command's answer on stdout: `data` as JSON with --json, else `text`."""
        say(json.dumps(data) if self.as_json else text)

    def listing(self, data: object, lines: Sequence[Line]) -> None:
        """An answer of several lines, whose first words are coloured on a terminal: `data` as JSON
        with --json, else the lines. NO_COLOR, a file or a pipe have no colours."""
        if self.as_json or not on_terminal(sys.stdout):
            self.result(data, "\n".join(line.text for line in lines))
            return
        from rich.console import Console as RichConsole
        from rich.text import Text

        terminal = RichConsole(highlight=False, soft_wrap=True)
        for line in lines:
            head, rest = printable(line.marked), printable(line.rest)
            with to_stdout():
                terminal.print(Text.assemble((head, line.style), rest))

    def note(self, line: str, level: int = 0) -> None:
        """A line on stderr, shown from the given verbosity on."""
        if self.verbosity >= level:
            say(line, err=True)

    def partial(self, t: float, text: str) -> None:
        """An answer as it stands at time t of the flow, on stderr: a line, with --json an event."""
        event = json.dumps({"event": "partial", "t": round(t, 6), "text": text})
        say(event if self.as_json else f"t={t:.3f}  {text}", err=True)

    def warn(self, line: str) -> None:
        """A line on stderr that -q does not silence."""
        say(f"warning: {line}", err=True)

    @property
    def quiet(self) -> bool:
        return self.verbosity < 0

    def _form(self) -> str:
        if self.progress_form != "auto":
            return self.progress_form
        return "rich" if self.verbosity >= 0 and on_terminal(stderr()) else "none"

    @contextlib.contextmanager
    def progress(self, task: str, among_lines: bool = False) -> Iterator[Advance]:
        """A function to call with (done, total, what is in hand); how it shows is the person's
        choice.

        `among_lines`: other lines are written to stderr meanwhile, which would tear a bar apart, so
        none is drawn.
        """
        form = self._form()
        if among_lines and form == "rich":
            form = "none"
        if form == "rich":
            with _rich_progress(task) as advance:
                yield advance
        elif form == "none":
            yield lambda done, total, item: None
        else:
            yield _Lines(task, form == "json")


class _Lines:
    """Progress as lines on stderr: JSON on every call, or plain at most every two seconds and at
    the end."""

    def __init__(self, task: str, as_json: bool) -> None:
        self._task, self._as_json = task, as_json
        self._started = time.monotonic()
        self._shown = 0.0

    def __call__(self, done: int, total: int, item: str) -> None:
        now = time.monotonic()
        seconds = now - self._started
        left = seconds / done * (total - done) if done else None
        if self._as_json:
            data = {
                "event": "progress",
                "task": self._task,
                "done": done,
                "total": total,
                "item": item,
            }
            data |= {
                "seconds": round(seconds, 3),
                "seconds_left": None if left is None else round(left, 3),
            }
            say(json.dumps(data), err=True)
        elif now - self._shown >= PLAIN_SECONDS or done == total:
            self._shown = now
            ending = "" if left is None or done == total else f", {left:.0f} s left"
            say(f"{self._task}: {done}/{total} {item}".rstrip() + ending, err=True)


@contextlib.contextmanager
def _rich_progress(task: str) -> Iterator[Advance]:
    from rich.console import Console as RichConsole
    from rich.file_proxy import FileProxy
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    name, item = TextColumn("{task.description}"), TextColumn("{task.fields[item]}")
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), item)
    stream = stderr()
    assert stream is not None  # `_form` looked at it
    console = RichConsole(file=stream)
    bars = Progress(*columns, console=console, transient=True, redirect_stderr=False)
    # a line among the bars is printed above them
    with stderr_is(cast("TextIO", FileProxy(console, stream))), bars:
        bar = bars.add_task(task, total=None, item="")

        def advance(done: int, total: int, item: str) -> None:
            bars.update(bar, completed=done, total=total, item=escape(printable(item)))

        yield advance


def common_options(command: Command) -> Command:
    """Give a command --json, -q, -v and --progress; it receives them as a Console, its first
    argument."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("-q", "--quiet", is_flag=True, help="Print the result and errors only.")
    @click.option("-v", "--verbose", count=True, help="Say more; twice: a traceback with an error.")
    @click.option(
        "--progress",
        "progress_form",
        type=click.Choice(PROGRESS),
        default="auto",
        help="How progress shows on stderr.",
    )
    @functools.wraps(command)
    def with_console(
        *args: Any, as_json: bool, quiet: bool, verbose: int, progress_form: str, **options: Any
    ) -> object:
        if quiet and verbose:
            raise click.UsageError(
                "-q and -v cannot be meant together", click.get_current_context()
            )
        check_outputs(click.get_current_context(), options)
        return command(Console(as_json, -1 if quiet else verbose, progress_form), *args, **options)

    return with_console  # type: ignore[return-value]


def check_outputs(context: click.Context, options: dict[str, Any]) -> None:
    """UsageError: what a command would write is, holds or lies in what it reads."""
    outputs = {
        parameter.name for parameter in context.command.params if isinstance(parameter.type, Output)
    }
    inputs = [
        path
        for name, value in options.items()
        if name not in outputs
        for path in _paths(value, name == "source")
    ]
    if options.get("variant"):
        from nextomni_edge.measure.variants import files_of

        inputs = [file for path in inputs for file in files_of(path)]
    for name in outputs:
        if isinstance(out := options.get(name or ""), Path):
            refuse_overlap(out, inputs)


def _paths(value: object, is_path: bool = False) -> Iterable[Path]:
    """The paths of an option's value: a path, several, or a prompt's (kind, file)."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, str) and is_path:
        yield Path(value)
    elif isinstance(value, tuple) and len(value) == 2 and value[0] in ("image", "audio", "video"):
        yield Path(value[1])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)
